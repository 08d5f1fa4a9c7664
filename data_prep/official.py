"""The files that a data set is published as: fetched, or found in a folder that the user has already."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from data_prep.download import Patience, download
from raysplit.errors import PopulationError


@dataclass(frozen=True)
class OfficialFile:
    """One published file. ``sha256`` or ``md5`` is checked where the publisher (or torchvision) names one.

    ``starts_with``: the first bytes of every file of its kind, which tell it from a web page.
    """

    name: str
    url: str
    sha256: str | None = None
    md5: str | None = None
    starts_with: bytes = b""


def obtain(
    name: str,
    files: Sequence[OfficialFile],
    beside: Path,
    *,
    source: Path | None,
    mirror: str | None,
    patience: Patience | None,
    console: Console,
) -> Path:
    """The folder with the files of data set ``name``: ``source``, or ``NAME-source/`` next to ``beside`` after
    fetching.

    ``mirror`` is the URL of a folder with files of the same names. Finished downloads are kept, half ones go on.
    Raises ``DownloadError``, or ``PopulationError`` for a ``source`` that is no folder or comes with a ``mirror``.
    """
    if source is None:
        folder = beside.parent / f"{name}-source"
        for file in files:
            download(
                file.url,
                folder / file.name,
                sha256=file.sha256,
                md5=file.md5,
                starts_with=file.starts_with,
                mirror=mirror,
                patience=patience,
                console=console,
            )
        return folder
    if mirror is not None:
        raise PopulationError(
            f"--mirror says where to download from, but --from {str(source)!r} needs no download; name one"
        )
    if not source.is_dir():
        wanted = " and ".join(file.name for file in files)
        raise PopulationError(f"there is no folder {str(source)!r}; --from names a folder with {wanted}, or unpacked")
    return source


def has_md5(file: Path, md5: str) -> bool:
    """Whether ``file`` has that md5 sum, hexadecimal."""
    found = hashlib.md5(usedforsecurity=False)
    with open(file, "rb") as handle:
        while chunk := handle.read(1 << 20):
            found.update(chunk)
    return found.hexdigest() == md5
