"""What parties remember from round to round: states by path, and the global state that a checkpoint writes down."""
