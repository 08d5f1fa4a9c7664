"""Commands of the command line that have a room of their own beside ``run`` and ``sweep``."""
