"""The Ray engine: actors, the wires between them, the cluster and the pool of actors that outlives a scenario."""
