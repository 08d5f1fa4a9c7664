"""Pictures and tables of one's own, prepared with ``raysplit data prepare``."""

from __future__ import annotations

from raysplit.population.arrow import ArrowFile


def image_folder(path: str) -> ArrowFile:
    """The population that ``raysplit data prepare image_folder`` wrote to ``path`` (``NAME.arrow``): samples uint8 [C,
    H, W].

    Opening it before it was prepared raises a ``PopulationError`` that names the command.
    """
    return ArrowFile(path, f"run `raysplit data prepare image_folder --from FOLDER --out {path}` first")


def table(path: str) -> ArrowFile:
    """The population that ``raysplit data prepare table`` wrote to ``path`` (``NAME.arrow``): float32 [1, 1, columns].

    Opening it before it was prepared raises a ``PopulationError`` that names the command.
    """
    return ArrowFile(path, f"run `raysplit data prepare table --from FILE --label COLUMN --out {path}` first")
