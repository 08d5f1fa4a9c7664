"""How much an inference attack found: of images, of labels, of a model, each beside what a guess without it finds."""
