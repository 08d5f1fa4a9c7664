"""Parts of a scenario: checked frozen dataclasses and their canonical form, from which the scenario's hash is taken."""
