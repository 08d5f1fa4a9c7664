"""Defences other than aggregation rules: detection at the main server and, to come, privacy."""
