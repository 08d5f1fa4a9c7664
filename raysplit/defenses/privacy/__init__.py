"""Training that tells little of any one sample: clipping, noise, and what they guarantee."""
