"""Fixtures of real data: they need ``RAYSPLIT_TEST_DATA``, a folder with LEAF's ``femnist/{train,test}/*.json``.

Other sets may lie beside it as their downloads unpack: ``MNIST/raw``, ``FashionMNIST/raw``, ``cifar-10-batches-py``,
``HAM10000``, ``TUDataset``, ``orl_faces``. Tests of a set that is not there are skipped.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from data_prep.femnist import prepare
from raysplit.population.arrow import ArrowFile


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
