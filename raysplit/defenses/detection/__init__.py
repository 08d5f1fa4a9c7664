"""Split-aware defences at the main server: which split steps it learns from, and which local rounds it takes back."""
