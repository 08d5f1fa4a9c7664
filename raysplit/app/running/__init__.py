"""From a scenario file to finished run folders, on the engine that was asked for."""
