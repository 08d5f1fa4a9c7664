"""From received updates to the next portion: the fed server, the columns that rules ask, their geometry and, in
``rules/``, the rules."""
