"""What an adversary does: to updates, to training data, to messages; and when."""
