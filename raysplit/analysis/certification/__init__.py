"""What a trained network with a noise layer guarantees of its predictions, and an attack that tries to break it."""
