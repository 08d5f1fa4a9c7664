"""Who takes part in a round: cohorts, how they are drawn, who is available, who drops out."""
