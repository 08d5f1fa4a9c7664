"""A run read back: its tables, the model that it trained, and how that does on test sets."""
