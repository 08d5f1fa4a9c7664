"""Noise between the layers of a network (PixelDP), and what is known of the layers before it."""
