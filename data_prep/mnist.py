"""Preparing MNIST (LeCun et al. 1998): 60,000 + 10,000 handwritten digits, as a pool."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from data_prep.download import Patience
from data_prep.idx import IdxSet, read_set
from data_prep.official import obtain
from data_prep.prepared import Summary, write

OFFICIAL = "https://ossci-datasets.s3.amazonaws.com/mnist"

# sha256 of the four files whose md5 sums torchvision publishes.
SET = IdxSet(
    name="mnist",
    folder="MNIST",
    packed=(
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
    content=(
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
)


def prepare(
    out: Path,
    *,
    source: Path | None = None,
    mirror: str | None = None,
    console: Console | None = None,
    patience: Patience | None = None,
) -> Summary:
    """Write MNIST to ``out`` as a pool in the official split, print what came out and return it.

    ``source`` is a folder with the four files, gzipped or not; without it they are downloaded (from the folder URL
    ``mirror`` when given). Raises ``PopulationError`` or ``DownloadError``.
    """
    return prepare_idx(SET, OFFICIAL, out, source=source, mirror=mirror, console=console, patience=patience)


def prepare_idx(
    idx: IdxSet,
    address: str,
    out: Path,
    *,
    source: Path | None,
    mirror: str | None,
    console: Console | None,
    patience: Patience | None,
    about: str = "",
) -> Summary:
    """``prepare`` for any data set of MNIST's four files; ``about`` goes into the description."""
    console = console or Console(stderr=True)
    folder = obtain(idx.name, idx.files(address), out, source=source, mirror=mirror, patience=patience, console=console)
    client, official = read_set(idx, folder)
    origin = "the official files" if official else "NOT the official files: their sums differ"
    return write(
        out,
        [client],
        name=idx.name,
        shape=(1, *client.train_x.shape[2:]),
        classes=10,
        description=f"{idx.folder} in the official split, from {origin}{about}",
        pool=True,
        console=console,
    )
