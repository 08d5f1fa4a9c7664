"""Graphs of TUDataset: the bytes are those of a plain parser, for made-up sets and the real ones."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import networkx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from data_prep.download import DownloadError, Patience
from data_prep.split import stratified
from data_prep.tudataset import prepare, read_graphs
from raysplit.errors import PopulationError
from tests.conftest import needs
from tests.data_prep.archives import archive, opened
from tests.data_prep.loopback import Remote, cut, serving, status

Text = dict[str, str]


def plain(folder: Path, name: str) -> list[tuple[int, networkx.Graph]]:
    """The graphs by reading line after line, as (raw class, graph with node attribute ``label``)."""

    def lines(part: str) -> list[list[int]]:
        file = folder / f"{name}_{part}.txt"
        return [[int(n) for n in line.split(",")] for line in file.read_text().splitlines()] if file.is_file() else []

    owner = [line[0] for line in lines("graph_indicator")]
    labels = [line[0] for line in lines("node_labels")] or [0] * len(owner)
    smallest = min(labels)
    graphs = [(line[0], networkx.Graph()) for line in lines("graph_labels")]
    for node, graph in enumerate(owner, 1):
        graphs[graph - 1][1].add_node(node, label=labels[node - 1] - smallest)
    for one, other in lines("A"):
        graphs[owner[one - 1] - 1][1].add_edge(one, other)
    return graphs


def expected(graph: networkx.Graph, largest: int) -> np.ndarray:
    """A sample as docs/population.md defines it."""
    adjacency = np.zeros((largest, largest), dtype=bool)
    count = len(graph)
    adjacency[:count, :count] = networkx.to_numpy_array(graph, nodelist=sorted(graph)) > 0
    last = np.zeros((largest, 1), dtype=np.uint8)
    last[:count, 0] = [1 + graph.nodes[node]["label"] for node in sorted(graph)]
    return np.concatenate([np.packbits(adjacency, axis=1), last], axis=1)[None]


def expect_plain(folder: Path, name: str, x: np.ndarray, y: np.ndarray) -> None:
    graphs = plain(folder, name)
    largest = max(len(graph) for _, graph in graphs)
    assert x.shape == (len(graphs), 1, largest, -(-largest // 8) + 1) and x.dtype == np.uint8
    classes = sorted({label for label, _ in graphs})
    for k, (label, graph) in enumerate(graphs):
        assert y[k] == classes.index(label)
        assert np.array_equal(x[k], expected(graph, largest)), f"graph {k + 1}"


def small() -> Text:
    """Three graphs of 3, 9 and 1 nodes: one direction, both, twice, a self-loop, and classes -1 and 1."""
    edges = [(1, 2), (2, 3), (3, 2), (4, 12), (12, 4), (4, 12), (5, 5), (11, 12)]
    return {
        "X_A.txt": "".join(f"{i}, {j}\n" for i, j in edges),
        "X_graph_indicator.txt": "1\n" * 3 + "2\n" * 9 + "3\n",
        "X_graph_labels.txt": "1\n-1\n1\n",
        "X_node_labels.txt": "".join(f"{3 + n % 4}\n" for n in range(13)),
    }


def lay(folder: Path, files: Text) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def test_a_graph_by_hand(tmp_path: Path) -> None:
    x, y, told = read_graphs(lay(tmp_path, small()), "X")
    assert x.shape == (3, 1, 9, 3) and y.tolist() == [1, 0, 1]
    # 0-1 and 1-2 in both directions; node labels 3, 4, 5 count from the set's smallest, 3.
    assert x[0, 0, :4].tolist() == [[0b01000000, 0, 1], [0b10100000, 0, 2], [0b01000000, 0, 3], [0, 0, 0]]
    # Node 4 is its graph's node 0 and joined to its node 8, the first bit of the second byte.
    assert x[1, 0, 0].tolist() == [0, 0b10000000, 4] and x[1, 0, 8].tolist() == [0b10000001, 0, 4]
    assert x[1, 0, 1].tolist() == [0b01000000, 0, 1], "a node joined to itself"
    assert x[2, 0, 0].tolist() == [0, 0, 1] and not x[2, 0, 1:].any()
    assert "4 node labels" in told and "classes -1, 1" in told


def test_without_node_labels_every_node_is_a_one(tmp_path: Path) -> None:
    files = small()
    del files["X_node_labels.txt"]
    x, _, told = read_graphs(lay(tmp_path, files), "X")
    assert (x[..., -1].sum(axis=(1, 2)) == [3, 9, 1]).all() and "no node labels" in told


@st.composite
def sets(draw: st.DrawFn) -> Text:
    sizes = draw(st.lists(st.integers(1, 20), min_size=1, max_size=6))
    first = np.cumsum([0, *sizes])
    pairs = [draw(st.lists(st.tuples(st.integers(1, n), st.integers(1, n)), max_size=25)) if n else [] for n in sizes]
    edges = [(first[g] + i, first[g] + j) for g, pairs_of_graph in enumerate(pairs) for i, j in pairs_of_graph]
    labels = draw(st.lists(st.integers(-3, 40), min_size=int(first[-1]), max_size=int(first[-1])))
    classes = draw(st.lists(st.integers(-2, 3), min_size=len(sizes), max_size=len(sizes)))
    files = {
        "X_A.txt": "".join(f"{i}, {j}\n" for i, j in draw(st.permutations(edges))),
        "X_graph_indicator.txt": "".join(f"{g + 1}\n" * n for g, n in enumerate(sizes)),
        "X_graph_labels.txt": "".join(f"{label}\n" for label in classes),
    }
    return files | ({"X_node_labels.txt": "".join(f"{n}\n" for n in labels)} if draw(st.booleans()) else {})


@given(sets())
def test_any_set_is_what_a_plain_parser_reads(tmp_path_factory: pytest.TempPathFactory, files: Text) -> None:
    folder = lay(tmp_path_factory.mktemp("set"), files)
    x, y, _ = read_graphs(folder, "X")
    expect_plain(folder, "X", x, y)


REAL = {"MUTAG": (188, 28, 7), "PROTEINS_full": (1113, 620, 3), "NCI1": (4110, 111, 37), "IMDB-BINARY": (1000, 136, 0)}


@pytest.mark.parametrize("name", REAL)
def test_the_real_sets_arrive_whole(tmp_path: Path, quiet: Console, test_data: Path, name: str) -> None:
    needs(test_data, "TUDataset")
    count, largest, labels = REAL[name]
    summary = prepare(tmp_path / "g.arrow", name=name, source=test_data, console=quiet)
    assert summary.shape == (1, largest, -(-largest // 8) + 1) and summary.clients == 1
    assert (summary.train + summary.test, summary.classes) == (count, 2)
    assert f"at most {largest} nodes" in summary.source and "in the official set" not in summary.source
    assert f"{labels or 'no'} node labels" in summary.source
    row = (
        f'`tudataset("{name}")` | pool | {summary.train:,} + {summary.test:,} | 2 | graph, {summary.shape[0]} × '
        f"{largest} × "
    )
    assert row in (Path(__file__).parents[2] / "docs" / "data-sets.md").read_text()
    folder = test_data / "TUDataset" / name / "raw"
    graphs = plain(folder, name)
    population = opened(tmp_path / "g.arrow")
    classes = sorted({label for label, _ in graphs})
    y = np.array([classes.index(label) for label, _ in graphs])
    test = stratified(name, y, seed=0)
    for samples, chosen in ((population.train(0), ~test), (population.test(0), test)):
        assert samples.y.tolist() == y[chosen].tolist()
        for k in range(0, int(chosen.sum()), 7):
            graph = graphs[int(np.flatnonzero(chosen)[k])][1]
            assert np.array_equal(samples.x[k].numpy(), expected(graph, largest))


def test_the_split_is_stratified_seeded_and_a_tenth(tmp_path: Path, quiet: Console) -> None:
    classes = [1] * 94 + [2] * 26 + [5] * 4
    files = {
        "X_A.txt": "",
        "X_graph_indicator.txt": "".join(f"{g + 1}\n" * (1 + g % 5) for g in range(len(classes))),
        "X_graph_labels.txt": "".join(f"{label}\n" for label in classes),
    }
    folder = lay(tmp_path / "given", files)
    digests = [
        prepare(tmp_path / f"{n}.arrow", name="X", source=folder, seed=seed, console=quiet).digest
        for n, seed in enumerate((0, 0, 1))
    ]
    assert digests[0] == digests[1] != digests[2]
    assert Counter(opened(tmp_path / "0.arrow").test(0).y.tolist()) == {0: 9, 1: 3}
    assert Counter(opened(tmp_path / "0.arrow").train(0).y.tolist()) == {0: 85, 1: 23, 2: 4}


def test_an_archive_is_downloaded_and_read_without_unpacking(tmp_path: Path, quiet: Console) -> None:
    packed = archive({"X/": b"", **{f"X/{name}": text.encode() for name, text in small().items()}})
    with serving(Remote({"X.zip": packed}, mischief=[cut(300), status(503)])) as remote:
        patience = Patience(sleep=lambda seconds: None)
        summary = prepare(tmp_path / "g.arrow", name="X", mirror=remote.url, patience=patience, console=quiet)
        with pytest.raises(DownloadError, match="404"):
            prepare(tmp_path / "h.arrow", name="Y", mirror=remote.url, patience=patience, console=quiet)
    assert (
        summary.digest
        == prepare(tmp_path / "g.arrow", name="X", source=lay(tmp_path / "d", small()), console=quiet).digest
    )
    assert not list((tmp_path / "tudataset-source").rglob("*.txt"))


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("A", "1, 4\n", "joins nodes of two graphs in line 1"),
        ("A", "1, 14\n", r"no pairs of nodes in 1\.\.13"),
        ("A", "1, 2, 3\n", "no pairs"),
        ("A", "one, two\n", "does not hold whole numbers"),
        ("graph_labels", "0.5\n1\n2\n", "does not hold whole numbers"),
        ("graph_labels", "1\n", r"outside 1\.\.1"),
        ("graph_labels", "1\n2\n1\n2\n", "gives graph 4 no nodes"),
        ("graph_indicator", "", r"outside 1\.\.3"),
        ("node_labels", "1\n2\n", "2 labels for 13 nodes"),
        ("node_labels", "0\n" * 12 + "255\n", "spans 256 labels"),
    ],
)
def test_sets_that_contradict_themselves_are_refused(
    tmp_path: Path, quiet: Console, file: str, text: str, words: str
) -> None:
    folder = lay(tmp_path / "given", small() | {f"X_{file}.txt": text})
    with pytest.raises(PopulationError, match=words) as caught:
        prepare(tmp_path / "g.arrow", name="X", source=folder, console=quiet)
    assert "\n" not in str(caught.value) and not list(tmp_path.glob("*.arrow"))


def test_missing_files_a_broken_archive_and_a_name_that_is_none_are_refused(tmp_path: Path, quiet: Console) -> None:
    def refuses(words: str, name: str = "X") -> None:
        with pytest.raises(PopulationError, match=words):
            prepare(tmp_path / "g.arrow", name=name, source=tmp_path / "given", console=quiet)

    files = small()
    lay(tmp_path / "given", {"X_A.txt": files["X_A.txt"]})
    refuses("no X_graph_indicator.txt")
    refuses("holds neither Y.zip nor Y_A.txt", name="Y")
    refuses("must be that of a TUDataset", name="../X")
    (tmp_path / "given" / "Z.zip").write_bytes(b"PK nothing")
    refuses("Z.zip' cannot be read", name="Z")


def test_graphs_too_large_for_samples_of_one_size_are_refused(tmp_path: Path, quiet: Console) -> None:
    count, nodes = 3, 150_000
    files = {
        "X_A.txt": "",
        "X_graph_indicator.txt": "".join(f"{g + 1}\n" * (nodes if g == 0 else 1) for g in range(count)),
        "X_graph_labels.txt": "0\n1\n0\n",
    }
    with pytest.raises(PopulationError, match="a graph has 150,000 nodes"):
        prepare(tmp_path / "g.arrow", name="X", source=lay(tmp_path / "given", files), console=quiet)
