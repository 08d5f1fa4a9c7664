"""Aggregation of updates whose columns lie in several processes: the shards, the reductions over all of them, and the
``Columns`` by which a rule asks them."""
