"""``raysplit frontier``: cuts x defences of one scenario, trained, attacked and compared."""
