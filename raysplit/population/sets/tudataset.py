"""Graph data sets of TUDataset (Morris et al. 2020), each a pool of one client."""

from __future__ import annotations

import re

from raysplit.errors import PopulationError
from raysplit.population.arrow import DATA, ArrowFile


def tudataset(name: str, path: str | None = None) -> ArrowFile:
    """The prepared graphs of data set ``name``, such as ``"MUTAG"``: samples uint8 [1, N, ceil(N/8) + 1].

    N is the largest number of nodes in the set; docs/population.md says what the bytes mean. ``path`` names the
    prepared file; without it, ``NAME.arrow`` in the data directory (see ``ArrowFile``). Opening it before it was
    prepared raises a ``PopulationError`` that names the command.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}", name):
        raise PopulationError(
            f"tudataset: name must be that of a TUDataset, such as MUTAG or IMDB-BINARY, not {name!r}"
        )
    return ArrowFile(
        f"{DATA}/{name}.arrow" if path is None else path, f"run `raysplit data prepare tudataset --name {name}` first"
    )
