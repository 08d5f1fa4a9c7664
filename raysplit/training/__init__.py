"""What the parties do with a batch: the client step, gradient rules, client blocks and, in ``servers/``, the main
servers."""
