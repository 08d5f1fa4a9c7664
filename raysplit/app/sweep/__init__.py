"""``raysplit sweep``: all scenarios of a file as one experiment, side by side, resumable, with one report."""
