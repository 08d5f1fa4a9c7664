"""What training costs: bytes, FLOPs, virtual time (docs/costs.md)."""
