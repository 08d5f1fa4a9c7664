"""EMNIST: handwritten digits and letters of NIST SD 19 in MNIST's format (Cohen et al. 2017), pools of one client."""

from __future__ import annotations

from typing import Literal, get_args

from raysplit.errors import PopulationError, nearest
from raysplit.population.arrow import DATA, ArrowFile

EmnistSplit = Literal["byclass", "bymerge", "balanced", "letters", "digits", "mnist"]
SPLITS: tuple[EmnistSplit, ...] = get_args(EmnistSplit)


def emnist(split: EmnistSplit, path: str | None = None) -> ArrowFile:
    """The prepared EMNIST pool ``split``, upright: samples uint8 [1, 28, 28], background 0, ink 255, as MNIST's.

    62 classes in ``byclass``, 47 in ``bymerge`` and ``balanced``, 26 in ``letters``, 10 in ``digits`` and ``mnist``. It
    does not say who wrote what; ``femnist`` does. ``path`` names the prepared file; without it, ``emnist-SPLIT.arrow`` in
    the data directory (see ``ArrowFile``). Opening it before it was prepared raises a ``PopulationError`` that names the
    command.
    """
    if split not in SPLITS:
        raise PopulationError(f"emnist: there is no split {split!r}; {nearest(str(split), SPLITS)}")
    return ArrowFile(
        f"{DATA}/emnist-{split}.arrow" if path is None else path,
        f"run `raysplit data prepare emnist --split {split}` first",
    )
