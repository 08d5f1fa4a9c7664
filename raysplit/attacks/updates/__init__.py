"""Attacks on updates, one a file: what malicious clients send to the fed server instead of what they trained."""
