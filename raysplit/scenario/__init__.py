"""A scenario as a value: its fields, its file, grids of scenarios, and what must hold before it may run."""
