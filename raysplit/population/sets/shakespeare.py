"""LEAF's Shakespeare: the next character of a speech, one client a role (Caldas et al. 2018)."""

from __future__ import annotations

from raysplit.population.arrow import DATA, ArrowFile


def shakespeare(path: str | None = None) -> ArrowFile:
    """The prepared Shakespeare population: 80 classes, the characters, samples uint8 [1, 1, 80], those before it.

    For ``shakespeare_lstm()``, with ``pixels="bytes"``. ``path`` names the prepared file; without it,
    ``shakespeare.arrow`` in the data directory (see ``ArrowFile``). Opening it before it was prepared raises a
    ``PopulationError`` that names the command.
    """
    return ArrowFile(
        path=f"{DATA}/shakespeare.arrow" if path is None else path,
        if_missing="run `raysplit data prepare shakespeare --from FOLDER` first, or use synthetic_roles(), which needs no "
        "data",
    )
