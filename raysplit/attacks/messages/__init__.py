"""Attacks on messages between a client and the main server, one a file, by malicious clients or by the server."""
