"""Fashion-MNIST: pictures of clothes (Xiao et al. 2017), a pool of one client."""

from __future__ import annotations

from raysplit.population.arrow import DATA, ArrowFile


def fashion_mnist(path: str | None = None) -> ArrowFile:
    """The prepared Fashion-MNIST pool in its official split: 10 classes, samples uint8 [1, 28, 28], background 0.

    ``path`` names the prepared file; without it, ``fashion_mnist.arrow`` in the data directory (see ``ArrowFile``).
    Opening it before it was prepared raises a ``PopulationError`` that names the command.
    """
    return ArrowFile(
        f"{DATA}/fashion_mnist.arrow" if path is None else path, "run `raysplit data prepare fashion_mnist` first"
    )
