"""Preparing a graph data set of TUDataset (Morris et al. 2020) from its raw text form, as a pool.

A graph becomes a uint8 sample [1, N, ceil(N/8) + 1] as docs/population.md says. Attributes of nodes and edges, and
labels of edges, are left out.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console

from data_prep.download import Patience
from data_prep.official import OfficialFile, obtain
from data_prep.prepared import Summary, write
from data_prep.split import split_stratified
from raysplit.errors import PopulationError

OFFICIAL = "https://www.chrsmrrs.com/graphkerneldatasets"
# : Graphs in the sets, as TUDataset's page lists them: no sums are published, so this is what a download is checked
# with.
GRAPHS = {"MUTAG": 188, "PROTEINS": 1113, "PROTEINS_full": 1113, "NCI1": 4110, "IMDB-BINARY": 1000}
#: Of one text file, unpacked, and of all samples together.
LARGEST = 1 << 30
LARGEST_SAMPLES = 4 << 30


def prepare(
    out: Path,
    *,
    name: str,
    source: Path | None = None,
    mirror: str | None = None,
    console: Console | None = None,
    seed: int = 0,
    patience: Patience | None = None,
) -> Summary:
    """Write the graphs of data set ``name`` to ``out`` as a pool, print what came out and return it.

    ``source`` is a folder with ``NAME.zip`` or its text files; without it the archive is downloaded (from the folder
    URL ``mirror`` when given). There is no official split: a tenth of each class is held out by a stream of ``seed``.
    Raises ``PopulationError`` or ``DownloadError``.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}", name):
        raise PopulationError(f"--name must be that of a TUDataset, such as MUTAG or IMDB-BINARY, not {name!r}")
    console = console or Console(stderr=True)
    archive = OfficialFile(f"{name}.zip", f"{OFFICIAL}/{name}.zip", starts_with=b"PK")
    folder = obtain("tudataset", [archive], out, source=source, mirror=mirror, patience=patience, console=console)
    x, y, summary = read_graphs(folder, name)
    expected = GRAPHS.get(name, len(y))
    different = "" if expected == len(y) else f" ({expected:,} in the official set)"
    return write(
        out,
        [split_stratified(name, x, y, seed=seed)],
        name=name,
        shape=(1, x.shape[2], x.shape[3]),
        classes=int(y.max()) + 1,
        description=f"TUDataset {name}: {len(y):,} graphs{different}, {summary}; split nine to one in each class with "
        f"seed {seed}, there being no official split",
        pool=True,
        console=console,
    )


def read_graphs(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray, str]:
    """The graphs as uint8 [n, 1, N, ceil(N/8) + 1], their classes int64 [n], and how they were read, in words.

    Classes are the graph labels in ascending order, node labels count from the set's smallest.
    """
    read = _opener(folder, name)
    graph_of = _whole_numbers(read, f"{name}_graph_indicator.txt")
    labels = _whole_numbers(read, f"{name}_graph_labels.txt")
    edges = _whole_numbers(read, f"{name}_A.txt")
    node_labels = _whole_numbers(read, f"{name}_node_labels.txt", needed=False)
    if edges is None or graph_of is None or labels is None:
        raise AssertionError("needed files are read or refused")
    count, nodes = len(labels), len(graph_of)
    where = f"{str(folder)!r}: {name}"
    if not count or not nodes or graph_of.min() < 1 or graph_of.max() > count:
        raise PopulationError(f"{where}_graph_indicator.txt names a graph outside 1..{count}, which have labels")
    if len(edges) % 2 or (edges.size and (edges.min() < 1 or edges.max() > nodes)):
        raise PopulationError(f"{where}_A.txt holds no pairs of nodes in 1..{nodes}")
    if node_labels is not None and len(node_labels) % nodes:
        raise PopulationError(f"{where}_node_labels.txt has {len(node_labels)} labels for {nodes} nodes")
    # Several columns of node labels are several labels a node; the first is the one that papers call the label.
    first = None if node_labels is None else node_labels.reshape(nodes, -1)[:, 0]
    graph_of = graph_of - 1
    sizes = np.bincount(graph_of, minlength=count)
    if not sizes.all():
        raise PopulationError(f"{where}_graph_indicator.txt gives graph {int(np.argmin(sizes > 0)) + 1} no nodes")
    x = _samples(graph_of, sizes, edges.reshape(-1, 2) - 1, first, where)
    values, y = np.unique(labels, return_inverse=True)
    summary = f"at most {sizes.max()} nodes, classes {', '.join(map(str, values))}, "
    summary += "no node labels" if first is None else f"{int(first.max() - first.min()) + 1} node labels"
    return x, y.astype(np.int64), summary


def _samples(
    graph_of: np.ndarray, sizes: np.ndarray, edges: np.ndarray, labels: np.ndarray | None, where: str
) -> np.ndarray:
    """``graph_of`` [nodes], ``sizes`` [n], ``edges`` [e, 2] → uint8 [n, 1, N, ceil(N/8) + 1]; all counted from 0."""
    largest = int(sizes.max())
    width = (largest + 7) // 8 + 1
    if len(sizes) * largest * width > LARGEST_SAMPLES:
        raise PopulationError(
            f"{where} would take {len(sizes) * largest * width:,} bytes, because a graph has {largest:,} nodes and "
            f"every sample is as large as that of the largest; at most {LARGEST_SAMPLES:,} are possible"
        )
    # A node's place in its graph: how many nodes of that graph came before it.
    order = np.argsort(graph_of, kind="stable")
    place = np.empty(len(graph_of), dtype=np.int64)
    place[order] = np.arange(len(graph_of)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    x = np.zeros((len(sizes), 1, largest, width), dtype=np.uint8)
    kinds = np.zeros(len(graph_of), dtype=np.int64) if labels is None else labels - labels.min()
    if kinds.max() > 254:
        raise PopulationError(f"{where}_node_labels.txt spans {kinds.max() + 1} labels; a sample has room for 255")
    x[graph_of, 0, place, width - 1] = 1 + kinds
    graph, across = graph_of[edges[:, 0]], graph_of[edges[:, 1]]
    if not np.array_equal(graph, across):
        row = int(np.argmax(graph != across))
        raise PopulationError(f"{where}_A.txt joins nodes of two graphs in line {row + 1}: {edges[row] + 1}")
    one, other = place[edges[:, 0]], place[edges[:, 1]]
    for i, j in ((one, other), (other, one)):
        np.bitwise_or.at(x, (graph, 0, i, j >> 3), (128 >> (j & 7)).astype(np.uint8))
    return x


def _whole_numbers(read: Callable[[str], bytes | None], file: str, needed: bool = True) -> np.ndarray | None:
    """All numbers of a text file, int64 [n]; None when the set has no such file and need not."""
    content = read(file)
    if content is None:
        if not needed:
            return None
        raise PopulationError(f"there is no {file} where the other files of the set are; take the whole archive")
    try:
        return np.array(content.replace(b",", b" ").split(), dtype=np.bytes_).astype(np.int64)
    except ValueError as error:
        reason = " ".join(str(error).split())[:100]
        raise PopulationError(
            f"{file} does not hold whole numbers ({reason}), so it labels or joins nothing"
        ) from error


def _opener(folder: Path, name: str) -> Callable[[str], bytes | None]:
    """How to read the set's text files by name: from a folder of them, or from the archive."""
    for place in (folder, folder / name, folder / name / "raw", folder / "TUDataset" / name / "raw"):
        if (place / f"{name}_A.txt").is_file():
            return lambda file: (place / file).read_bytes() if (place / file).is_file() else None
    archive = folder / f"{name}.zip"
    if not archive.is_file():
        raise PopulationError(
            f"{str(folder)!r} holds neither {name}.zip nor {name}_A.txt; --from names the folder with one of them"
        )

    def member(file: str) -> bytes | None:
        try:
            with zipfile.ZipFile(archive) as packed:
                known = {info.filename: info for info in packed.infolist()}
                info = known.get(f"{name}/{file}") or known.get(file)
                if info is None:
                    return None
                if info.file_size > LARGEST:
                    raise PopulationError(f"{str(archive)!r}: {file} unpacks to more than {LARGEST:,} bytes")
                return packed.read(info)
        except (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:160].rstrip(".")
            raise PopulationError(f"{str(archive)!r} cannot be read ({reason}); copy or download it again") from error

    return member
