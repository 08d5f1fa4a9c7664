"""FEMNIST: handwritten digits and letters of NIST SD 19, one client a writer (Caldas et al. 2018, "LEAF")."""

from __future__ import annotations

from raysplit.population.arrow import DATA, ArrowFile


def femnist(path: str | None = None) -> ArrowFile:
    """The prepared FEMNIST population: 62 classes, samples uint8 [1, 28, 28], background 255, ink 0.

    ``path`` names the prepared file; without it, ``femnist.arrow`` in ``$RAYSPLIT_DATA``, or in
    ``~/.local/share/raysplit`` when that is not set. Opening it before it was prepared raises a ``PopulationError``
    that names the command.
    """
    return ArrowFile(
        path=f"{DATA}/femnist.arrow" if path is None else str(path),
        if_missing="run `raysplit data prepare femnist` first, or use synthetic_writers(), which needs no data",
    )
