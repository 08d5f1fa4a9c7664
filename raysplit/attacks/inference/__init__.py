"""What an adversary infers from messages and from what it knows: private inputs, labels and models, one attack a file."""
