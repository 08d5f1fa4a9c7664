"""From received updates to the next portion: what is known before they come (``task.py``), poisoning, aggregation by a
rule wherever the columns lie, the server optimiser; the rules themselves are in ``rules/``."""
