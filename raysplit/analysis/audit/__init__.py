"""How much a private training tells of samples that were put there to be found, beside how much it claims."""
