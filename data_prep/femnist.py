"""Preparing FEMNIST: the NIST archives, or LEAF's json, to ``femnist.arrow``; and what came out.

Users, samples and their spread are shown beside those of Khan et al. 2022 (and of LEAF's page): 3,550 users and 805,263
samples, 226.83 a user with a standard deviation of 88.94.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from data_prep.download import Patience, download
from data_prep.leaf_json import find_leaf_files, read_leaf
from data_prep.leaf_pixels import CLASSES, PIXELS, SIDE
from data_prep.nist_sd19 import read_writers
from data_prep.split import split_client
from raysplit.errors import PopulationError
from raysplit.population.arrow import ArrowFile, OpenArrow
from raysplit.population.arrow_writer import ClientData, write_population

OFFICIAL = "https://s3.amazonaws.com/nist-srd/SD19"
ARCHIVES = ("by_class.zip", "by_write.zip")

WHY_COUNTS_DIFFER = """\
Why LEAF's own code gives other figures than its page and the paper (3,597 users, 817,851 samples; TalwalkarLab/leaf
issue 49, still open). Known: its group_by_writer.py adds the first image of every writer but the very first twice; that
is 3,596 repeats, and 817,851 - 3,596 = 814,255 is the number of characters in NIST's by_class. Each of 212 writers of
LEAF's json that we looked at has exactly one repeated image, in 40 of them one copy to train on and one to test on.
Prepared from the NIST archives, every image counts once; LEAF's json is taken as it is. Not known: how the page came to
3,550. The code once left out its last, incomplete json file (pull request 34), and 3,550 is 3,597 rounded down to whole
files of 50 users, but that is our guess."""


@dataclass(frozen=True)
class Summary:
    """What a prepared file holds. Counts are over training and test sets together; ``sd`` divides by ``users``."""

    path: Path
    digest: str
    source: str
    users: int
    samples: int
    train: int
    test: int
    mean: float
    sd: float

    def __str__(self) -> str:
        rows = [
            ("", "this file", "the paper"),
            ("users", f"{self.users:,}", "3,550"),
            ("samples", f"{self.samples:,}", "805,263"),
            ("mean per user", f"{self.mean:.2f}", "226.83"),
            ("sd per user", f"{self.sd:.2f}", "88.94"),
        ]
        table = "\n".join(f"  {name:<14}{ours:>12}{paper:>12}" for name, ours, paper in rows)
        return (
            f"{self.path}\n  {self.source}\n  {self.train:,} training and {self.test:,} test samples, "
            f"sha256 {self.digest}\n{table}\n{WHY_COUNTS_DIFFER}"
        )


def prepare(
    out: Path,
    *,
    source: Path | None = None,
    mirror: str | None = None,
    keep_archives: bool = True,
    console: Console | None = None,
    seed: int = 0,
    patience: Patience | None = None,
) -> Summary:
    """Write FEMNIST to ``out`` (``.../femnist.arrow``, offsets beside it), print what came out and return it.

    Without ``source``, the NIST archives are downloaded to ``sd19/`` beside ``out`` (from the folder URL ``mirror``
    when given) and deleted afterwards unless ``keep_archives``. ``source`` is a folder with those archives, or with
    LEAF's json: a split in ``train/`` and ``test/``, by sample or by user, is kept, anything else is split nine to one
    within each user by a stream of ``seed``. Run it again after an interruption: finished downloads are kept and half ones go on. Raises
    ``PopulationError`` or ``DownloadError``; ``out`` is replaced only by a complete file.
    """
    console = console or Console(stderr=True)
    folder = out.parent / "sd19" if source is None else source
    if source is None:
        for name in ARCHIVES:
            url = f"{OFFICIAL}/{name}"
            download(url, folder / name, starts_with=b"PK", mirror=mirror, patience=patience, console=console)
    elif mirror is not None:
        raise PopulationError(
            f"--mirror says where to download from, but --from {str(source)!r} needs no download; name one"
        )
    with _progress(console) as progress:
        clients, origin = _clients(folder, seed, progress)
        write_population(
            out,
            clients,
            name="femnist",
            shape=(1, SIDE, SIDE),
            classes=CLASSES,
            description=f"FEMNIST, one client a writer; {origin}",
            unseen=True,
        )
    if source is None and not keep_archives:
        for name in ARCHIVES:
            (folder / name).unlink(missing_ok=True)
    summary = describe(out)
    console.print(str(summary), markup=False, highlight=False, soft_wrap=True)
    return summary


def describe(path: Path) -> Summary:
    """What the prepared file holds, every bit of it checked; ``PopulationError`` when it is missing or damaged."""
    opened: OpenArrow = ArrowFile(str(path)).open()
    opened.verify()
    clients = np.arange(opened.info.clients)
    train, test = opened.train_sizes(clients), opened.test_sizes(clients)
    sizes = train + test
    return Summary(
        path=path,
        digest=opened.info.digest,
        source=opened.info.description,
        users=len(clients),
        samples=int(sizes.sum()),
        train=int(train.sum()),
        test=int(test.sum()),
        mean=float(sizes.mean()),
        sd=float(sizes.std()),
    )


def _clients(folder: Path, seed: int, progress: Callable[[str, int, int], None]) -> tuple[Iterator[ClientData], str]:
    """The clients in ``folder`` and where they come from, in words."""
    if not folder.is_dir():
        raise PopulationError(
            f"there is no folder {str(folder)!r}; --from names a folder with LEAF's json or NIST's archives"
        )
    by_class, by_write = (folder / name for name in ARCHIVES)
    if by_class.is_file() and by_write.is_file():
        writers = read_writers(by_class, by_write, progress)
        origin = f"NIST SD 19 by_class and by_write matched as LEAF does, split nine to one with seed {seed}"
        return (split_client(name, x, y, seed=seed) for name, x, y in writers), origin
    files = find_leaf_files(folder)
    if files is None:
        raise PopulationError(
            f"{str(folder)!r} holds neither LEAF's json (train/ and test/, all_data/, or *.json) nor both of "
            f"{' and '.join(ARCHIVES)}"
        )
    origin = "LEAF json in LEAF's split" if files.split else f"LEAF json split nine to one with seed {seed}"
    return read_leaf(files, PIXELS, partial(split_client, seed=seed)), origin


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bars:
        tasks = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done)

        yield show
