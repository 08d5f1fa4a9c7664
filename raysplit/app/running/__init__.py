"""From a scenario, built in Python or in a file, to a finished run folder, on the chosen engine."""
