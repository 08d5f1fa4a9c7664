"""MNIST: handwritten digits (LeCun et al. 1998), a pool of one client."""

from __future__ import annotations

from raysplit.population.arrow import DATA, ArrowFile


def mnist(path: str | None = None) -> ArrowFile:
    """The prepared MNIST pool in its official split: 10 classes, samples uint8 [1, 28, 28], background 0, ink 255.

    ``path`` names the prepared file; without it, ``mnist.arrow`` in the data directory (see ``ArrowFile``). Opening it
    before it was prepared raises a ``PopulationError`` that names the command.
    """
    return ArrowFile(f"{DATA}/mnist.arrow" if path is None else path, "run `raysplit data prepare mnist` first")
