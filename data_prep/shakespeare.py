"""Preparing LEAF's Shakespeare (Caldas et al. 2018): the next character of a role's speech, one client a role.

LEAF's json, or a folder of texts of one's own, a file a client, of which windows are made as LEAF makes them. Nothing is
downloaded: LEAF publishes the code that cuts Project Gutenberg's edition into roles, not its result.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from data_prep.leaf_json import SampleKind, Split, find_leaf_files, read_leaf
from data_prep.prepared import Summary, write
from data_prep.split import at_least, by_user, check_by, split_in_order, whole
from raysplit.errors import PopulationError
from raysplit.population.arrow_writer import ClientData
from raysplit.population.text.characters import ALPHABET, WINDOW, encode, windows


def prepare(
    out: Path,
    *,
    source: Path | None = None,
    mirror: str | None = None,
    least: int = 2,
    by: str = "sample",
    console: Console | None = None,
    seed: int = 0,
) -> Summary:
    """Write the roles in folder ``source`` to ``out``, print what came out and return it.

    ``source`` holds LEAF's json (a split, by sample or by user, is kept), or texts ``ROLE.txt``. What is not split is
    split as LEAF splits it: a role's first nine tenths to train, then a gap of 79 windows, which would overlap, then
    the test set. ``by="user"`` instead takes a tenth of the roles, by a stream of ``seed``, to test on alone. ``least``:
    roles of fewer samples are left out. Raises ``PopulationError``.
    """
    if source is None or mirror is not None:
        raise PopulationError(
            "shakespeare is prepared from a folder with LEAF's json (its preprocess.sh writes it), or with a text ROLE.txt "
            "for each role, and downloads nothing: name it with --from, without --mirror"
        )
    if not source.is_dir():
        raise PopulationError(f"there is no folder {str(source)!r}; --from names a folder with LEAF's json or ROLE.txt")
    clients, origin = _clients(source, by, seed)
    kept = at_least(least, clients)
    return write(
        out,
        by_user(kept, seed=seed) if by == "user" else kept,
        name="shakespeare",
        shape=(1, 1, WINDOW),
        classes=len(ALPHABET),
        description=f"Shakespeare, one client a role, the character after 80 of them; {origin}; roles of {least} samples "
        "or more",
        unseen=True,
        console=console or Console(stderr=True),
    )


def _clients(folder: Path, by: str, seed: int) -> tuple[Iterator[ClientData], str]:
    files = find_leaf_files(folder)
    check_by(by, files is not None and files.split)
    split, in_words = (
        (split_in_order, "nine to one in order") if by == "sample" else (whole, f"by user with seed {seed}")
    )
    if files is not None:
        origin = "LEAF json in LEAF's split" if files.split else f"LEAF json split {in_words}"
        return read_leaf(files, SampleKind("windows", _read), split), origin
    texts = sorted(file for file in folder.iterdir() if file.suffix == ".txt")
    if not texts:
        raise PopulationError(
            f"{str(folder)!r} holds neither LEAF's json (train/ and test/, all_data/, or *.json) nor texts ROLE.txt"
        )
    return _of_texts(texts, split), f"{len(texts):,} texts split {in_words}"


def _of_texts(texts: list[Path], split: Split) -> Iterator[ClientData]:
    for file in texts:
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise PopulationError(f"{str(file)!r} cannot be read as UTF-8; save it anew") from error
        x, y = windows(text)
        if len(y):
            yield split(file.stem, x, y)


def _read(where: str, x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Windows uint8 [n, 1, 1, 80] and the characters that follow them, int64 [n]."""
    for rows, length, noun in ((x, WINDOW, "window"), (y, 1, "next character")):
        if not isinstance(rows, list):
            raise PopulationError(f"{where} has samples that are not a list")
        for place, row in enumerate(rows):
            if not isinstance(row, str) or len(row) != length:
                found = f"{len(row)} characters" if isinstance(row, str) else "no text"
                raise PopulationError(f"{where} has {found} in {noun} {place}, not {length}")
    return encode("".join(x)).reshape(-1, 1, 1, WINDOW), encode("".join(y)).astype(np.int64)
