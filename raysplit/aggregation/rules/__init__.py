"""One aggregation rule a file, and the steps that may come before a rule (mixing, bucketing, clipping)."""
