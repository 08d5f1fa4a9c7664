"""One Ray cluster for the tests of this folder, and actors that go from test to test."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

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
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Staffed]:
    """Eight actors' worth of CPUs, however many the machine has; hosts get the toys' classes by value. It is started
    where that is hardest (``awkward``), and with a handler of SIGTERM.

    For this folder and no longer: tests elsewhere start clusters as users do, and a process has one at a time.
    """
    before = signal.signal(signal.SIGTERM, terminated)
    try:
        with ExitStack() as stack:
            with awkward(tmp_path_factory.mktemp("awkward")):
                resources = stack.enter_context(connect(None, 256 << 20, cpus=8))
            actor_pool = stack.enter_context(ActorPool())
            for module in (toys, faults):
                by_value(module)
            yield Staffed(resources.cpus, resources.gpus, resources.nodes, actor_pool)
    finally:
        signal.signal(signal.SIGTERM, before)


class Terminated(Exception):
    """What this process answers a SIGTERM with while the cluster stands."""


def terminated(number: int, frame: object) -> None:
    raise Terminated


@contextmanager
def awkward(here: Path) -> Iterator[None]:
    """A working directory with a package of RaySplit's name, and a long ``TMPDIR``."""
    (here / "raysplit").mkdir()
    (here / "raysplit" / "__init__.py").write_text("raise ImportError('this is not RaySplit')\n")
    long = here / ("long" * 12)
    long.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        patch.setattr(sys, "path", [folder for folder in sys.path if folder])
        patch.delenv("RAY_TMPDIR", raising=False)
        patch.setenv("TMPDIR", str(long))
        yield
