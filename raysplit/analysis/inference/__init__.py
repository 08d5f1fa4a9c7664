"""An inference attack on a run: what the adversary saw, what it knows, what it makes of it, and how good that is."""
