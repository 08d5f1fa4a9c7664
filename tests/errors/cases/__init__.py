"""Every wrong input of docs/errors.md, by what is wrong: importing these files fills ``CASES``."""

from tests.errors.cases import (
    cluster,
    command_line,
    data,
    frontier,
    inference,
    messages,
    networks,
    noise,
    parts,
    privacy,
    run_folders,
    scenario_file,
)
from tests.errors.making import CASES

__all__ = [
    "CASES",
    "cluster",
    "command_line",
    "data",
    "frontier",
    "inference",
    "messages",
    "networks",
    "noise",
    "parts",
    "privacy",
    "run_folders",
    "scenario_file",
]
