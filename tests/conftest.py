"""One thread a test process, and fixtures of real data: they need ``RAYSPLIT_TEST_DATA``, a folder with LEAF's ``femnist/{train,test}/*.json``.

Other sets may lie beside it as their downloads unpack: ``MNIST/raw``, ``FashionMNIST/raw``, ``cifar-10-batches-py``,
``HAM10000``, ``TUDataset``, ``orl_faces``. Tests of a set that is not there are skipped.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from rich.console import Console

from data_prep import cifar10, fashion_mnist, ham10000, mnist, tudataset
from data_prep.femnist import prepare
from raysplit.population.arrow import ArrowFile

# Files are tested side by side, as many as there are cores: more threads would wait for each other at the end of every
# small product, which costs several times what it saves. That a run's bits do not depend on its caller's count is
# tests/engine/test_threads.py's.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of unpacked real data; skips where there is none."""
    folder = os.environ.get("RAYSPLIT_TEST_DATA")
    if not folder:
        pytest.skip(
            "needs real data: set RAYSPLIT_TEST_DATA to a folder with femnist/{train,test}/*.json, MNIST/raw, ..."
        )
    return Path(folder)


@pytest.fixture(scope="session")
def real_femnist(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> ArrowFile:
    """FEMNIST of the real writers in the test data, prepared once."""
    out = tmp_path_factory.mktemp("real_femnist") / "femnist.arrow"
    prepare(out, source=test_data / "femnist")
    return ArrowFile(str(out))


def needs(test_data: Path, name: str) -> Path:
    """The real data set that unpacks to folder ``name``; skips where it is not."""
    if not (test_data / name).is_dir():
        pytest.skip(f"needs real data: {name} is not in RAYSPLIT_TEST_DATA")
    return test_data / name


@pytest.fixture(scope="session")
def prepared_sets(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory (``RAYSPLIT_DATA``) with the sets that are in the test data; of HAM10000 the first 400
    pictures."""
    quiet = Console(quiet=True)
    folder = tmp_path_factory.mktemp("prepared")
    if (test_data / "MNIST").is_dir():
        mnist.prepare(folder / "mnist.arrow", source=test_data / "MNIST", console=quiet)
    if (test_data / "FashionMNIST").is_dir():
        fashion_mnist.prepare(folder / "fashion_mnist.arrow", source=test_data / "FashionMNIST", console=quiet)
    if (test_data / "cifar-10-batches-py").is_dir():
        cifar10.prepare(folder / "cifar10.arrow", source=test_data, console=quiet)
    if (test_data / "HAM10000").is_dir():
        part = first_pictures(test_data / "HAM10000", tmp_path_factory.mktemp("ham10000"), 400)
        for size in (64, 32):
            ham10000.prepare(folder / f"ham10000-{size}.arrow", source=part, size=size, console=quiet)
    for name in ("MUTAG", "IMDB-BINARY", "PROTEINS_full"):
        raw = test_data / "TUDataset" / name / "raw"
        if raw.is_dir():
            tudataset.prepare(folder / f"{name}.arrow", name=name, source=raw, console=quiet)
    return folder


def first_pictures(whole: Path, part: Path, count: int) -> Path:
    """HAM10000 with its first pictures alone, as links in ``part``."""
    head, *rows = (whole / "HAM10000_metadata.csv").read_text().splitlines()
    (part / "HAM10000_metadata.csv").write_text("\n".join([head, *rows[:count]]) + "\n")
    (part / "images").mkdir()
    for row in rows[:count]:
        picture = row.split(",")[1].strip('"') + ".jpg"
        (part / "images" / picture).symlink_to(whole / "images" / picture)
    return part
