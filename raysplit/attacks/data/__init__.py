"""Attacks on training data, one a file: label flips and backdoors, and how their success is measured."""
