"""A small population on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.population.tiny_population import make_clients, write


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    write(tmp_path / "tiny.arrow", make_clients())
    return tmp_path / "tiny.arrow"
