"""Split-aware defences at the main server: which visits it learns from, and which clients' turns it takes back."""
