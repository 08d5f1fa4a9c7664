"""What a preparation leaves behind: the population file, and in words what it holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from raysplit.population.arrow import ArrowFile
from raysplit.population.arrow_writer import ClientData, write_population

POOL = "pool"
"""The name of the one client that owns a whole data set."""


@dataclass(frozen=True)
class Summary:
    """What a population file holds. Counts of ``histogram`` (by class) are over training and test sets together."""

    path: Path
    name: str
    digest: str
    source: str
    clients: int
    train: int
    test: int
    classes: int
    shape: tuple[int, int, int]
    dtype: str
    mean: float
    sd: float
    histogram: tuple[int, ...]
    unseen: int = 0

    def __str__(self) -> str:
        shape = " × ".join(map(str, self.shape))
        rows = [
            ("clients", f"{self.clients:,}" + (f", {self.unseen:,} of them only to test on" if self.unseen else "")),
            ("samples", f"{self.train + self.test:,} ({self.train:,} training, {self.test:,} test)"),
            ("per client", f"{self.mean:.2f} ± {self.sd:.2f}"),
            ("classes", f"{self.classes:,}"),
            ("a sample", f"{self.dtype} {shape}"),
            ("by class", _in_words(self.histogram)),
            ("sha256", self.digest),
        ]
        return f"{self.path}: {self.name}\n  {self.source}\n" + "\n".join(f"  {what:<11}{text}" for what, text in rows)


def describe(path: Path) -> Summary:
    """What the file holds, every bit of it checked; ``PopulationError`` when it is missing or damaged."""
    opened = ArrowFile(str(path)).open()
    opened.verify()
    info = opened.info
    clients = np.arange(info.clients)
    train, test = opened.train_sizes(clients), opened.test_sizes(clients)
    histogram = np.zeros(info.classes, dtype=np.int64)
    for client in range(info.clients):
        views = opened.views(client)
        for labels in (views.train_y, views.test_y):
            histogram += np.bincount(labels, minlength=info.classes)
    sizes = train + test
    return Summary(
        path=path,
        name=info.name,
        digest=info.digest,
        source=info.description,
        clients=info.clients,
        train=int(train.sum()),
        test=int(test.sum()),
        classes=info.classes,
        shape=info.shape,
        dtype=info.dtype,
        mean=float(sizes.mean()),
        sd=float(sizes.std()),
        histogram=tuple(histogram.tolist()),
        unseen=info.unseen,
    )


def write(
    out: Path,
    clients: Iterable[ClientData],
    *,
    name: str,
    shape: tuple[int, int, int],
    classes: int,
    description: str,
    dtype: str = "uint8",
    pool: bool = False,
    unseen: bool = False,
    console: Console,
) -> Summary:
    """Write ``clients`` to ``out``, as one client when ``pool``, print what came out and return it.

    ``unseen``: the last ones may lack training samples (``write_population``)."""
    if pool:
        clients = _pooled(clients)
        description += "; a pool of one client, to be partitioned"
    write_population(
        out, clients, name=name, shape=shape, classes=classes, description=description, dtype=dtype, unseen=unseen
    )
    summary = describe(out)
    console.print(str(summary), markup=False, highlight=False, soft_wrap=True)
    return summary


def _pooled(clients: Iterable[ClientData]) -> Iterator[ClientData]:
    """All training sets as one and all test sets as one, in the order of the clients: who was split stays split."""
    gathered = list(clients)
    if len(gathered) > 1:
        _, *columns = zip(*gathered, strict=True)
        gathered = [ClientData(POOL, *(np.concatenate(column) for column in columns))]
    yield from (client._replace(name=POOL) for client in gathered)


def _in_words(histogram: tuple[int, ...]) -> str:
    if len(histogram) <= 20:
        return " ".join(f"{label}:{count:,}" for label, count in enumerate(histogram))
    least, most = min(histogram), max(histogram)
    return (
        f"{least:,} (class {histogram.index(least)}) to {most:,} (class {histogram.index(most)}), "
        f"median {float(np.median(histogram)):,g}"
    )
