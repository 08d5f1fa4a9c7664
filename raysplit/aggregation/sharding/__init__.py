"""Aggregation of updates whose columns lie in several processes: shards, and the sums that are taken over all of
them."""
