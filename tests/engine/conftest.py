"""One Ray cluster for the tests of this folder, and actors that go from test to test."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from raysplit.engine.placement import Resources
from raysplit.engine.ray.actor_pool import ActorPool
from raysplit.engine.ray.cluster import by_value, connect
from tests import toys
from tests.engine import faults


@dataclass(frozen=True)
class Staffed(Resources):
    """What the cluster has, and actors that go from test to test: starting them takes longer than most tests."""

    actor_pool: ActorPool | None = None


@pytest.fixture(scope="package")
def cluster() -> Iterator[Staffed]:
    """Eight actors' worth of CPUs, however many the machine has; hosts get the toys' classes by value.

    For this folder and no longer: tests elsewhere start clusters as users do, and a process has one at a time.
    """
    with connect(None, 256 << 20, cpus=8) as resources, ActorPool() as actor_pool:
        for module in (toys, faults):
            by_value(module)
        yield Staffed(resources.cpus, resources.gpus, resources.nodes, actor_pool)
