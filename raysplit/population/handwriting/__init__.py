"""Synthetic writers: glyphs drawn by hands of their own, embedded, so that the first run needs no download."""
