"""One Ray cluster for a module of tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from raysplit.engine.cluster import by_value, connect
from raysplit.engine.placement import Resources
from tests import toys
from tests.engine import faults


@pytest.fixture(scope="module")
def cluster() -> Iterator[Resources]:
    """Eight actors' worth of CPUs, however many the machine has; hosts get the toys' classes by value."""
    with connect(None, 256 << 20, cpus=8) as resources:
        for module in (toys, faults):
            by_value(module)
        yield resources
