"""What the tests of data preparation share: a silent console, small NIST archives, and no way out to the network."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from tests.data_prep.archives import archive, nist


@pytest.fixture
def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


@pytest.fixture
def sd19(tmp_path: Path) -> Path:
    """A folder with small archives of the true layout."""
    by_class, by_write, _ = nist()
    folder = tmp_path / "archives"
    folder.mkdir()
    (folder / "by_class.zip").write_bytes(archive(by_class))
    (folder / "by_write.zip").write_bytes(archive(by_write))
    return folder


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No official address is ever asked in a test."""
    sets = ("femnist", "mnist", "fashion_mnist", "emnist", "cifar10", "ham10000", "tudataset", "att_faces", "sent140")
    for name in sets:
        monkeypatch.setattr(f"data_prep.{name}.OFFICIAL", "http://127.0.0.1:9/official")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield
