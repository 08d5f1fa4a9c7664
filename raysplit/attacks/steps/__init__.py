"""Attacks that take a malicious client's split steps into their own hands, one a file."""
