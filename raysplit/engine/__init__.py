"""Where a round is played: the contract of an engine, the host that plays clients, the local engine; in ``ray/`` the
only code that imports ray."""
