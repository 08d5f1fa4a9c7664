"""What a user calls: the command line, running scenarios from Python, sweeps, the cluster doctor."""
