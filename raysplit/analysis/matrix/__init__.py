"""Attacks against rules on one matrix of updates, without training: ``raysplit matrix``."""
