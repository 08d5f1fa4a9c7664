"""Commands of the command line that have a module of their own beside ``run`` and ``sweep``."""
