"""Networks as chains of stages that can be cut, and a portion as one flat vector."""
