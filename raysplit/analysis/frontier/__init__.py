"""A frontier's points measured: accuracy, what leaks, the drop under an attack, bytes and time; and who is not bettered."""
