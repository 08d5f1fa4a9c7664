"""Who takes part in a round: cohorts, how they are sampled, who is available, who drops out."""
