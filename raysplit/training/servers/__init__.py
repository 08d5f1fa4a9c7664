"""Main servers: who answers split steps, one shared portion or a replica for each client, and when it steps."""
