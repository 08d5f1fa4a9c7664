"""AT&T (ORL) faces: ten pictures each of 40 people (Samaria & Harter 1994), one client a person or a pool."""

from __future__ import annotations

from raysplit.population.arrow import DATA, ArrowFile


def att_faces(pool: bool = False, path: str | None = None) -> ArrowFile:
    """The prepared AT&T faces: 40 classes, the people; samples uint8 [1, 112, 92].

    Client k is person s(k+1), all of whose pictures are of class k; with ``pool`` one client owns them all. ``path``
    names the prepared file; without it, ``att_faces.arrow`` or ``att_faces-pool.arrow`` in the data directory (see
    ``ArrowFile``). Opening it before it was prepared raises a ``PopulationError`` that names the command.
    """
    name, option = ("att_faces-pool", " --pool") if pool else ("att_faces", "")
    return ArrowFile(
        f"{DATA}/{name}.arrow" if path is None else path, f"run `raysplit data prepare att_faces{option}` first"
    )
