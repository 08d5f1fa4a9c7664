"""Every wrong input of docs/errors.md, by what is wrong. Importing this fills ``making.CASES``."""

from tests.errors.cases import cluster, command_line, data, inference, networks, parts, run_folders, scenario_file

__all__ = ["cluster", "command_line", "data", "inference", "networks", "parts", "run_folders", "scenario_file"]
