"""CIFAR-10: colour pictures of ten kinds of things (Krizhevsky 2009), a pool of one client."""

from __future__ import annotations

from raysplit.population.arrow import DATA, ArrowFile


def cifar10(path: str | None = None) -> ArrowFile:
    """The prepared CIFAR-10 pool in its official split: 10 classes, samples uint8 [3, 32, 32] in order R, G, B.

    ``path`` names the prepared file; without it, ``cifar10.arrow`` in the data directory (see ``ArrowFile``). Opening
    it before it was prepared raises a ``PopulationError`` that names the command.
    """
    return ArrowFile(f"{DATA}/cifar10.arrow" if path is None else path, "run `raysplit data prepare cifar10` first")
