"""Texts: LEAF's alphabet and windows, and invented speech."""
