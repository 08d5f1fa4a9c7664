"""Where should I cut? Every cut of a model compared by bytes, FLOPs, time, attack surface and accuracy."""
