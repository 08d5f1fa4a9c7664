"""How many threads the caller's process has is nothing to a run: it is played by one, and then all is as it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from raysplit.aggregation.rules.geometric_median import GeometricMedian
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.split_learning import SplitLearning
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from tests.toys import play, toy


@pytest.fixture
def four_threads() -> Iterator[None]:
    """What a user's process has; the processes of tests have one each (tests/conftest.py)."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("protocol", [FedAvg(), SplitLearning(), SplitFedV1(), SplitFedV2()], ids=repr)
def test_a_run_is_played_by_one_thread_whatever_its_caller_has(four_threads, protocol):
    scenario = toy(protocol, defense=GeometricMedian()) if protocol.client_sync == "averaging" else toy(protocol)
    counts = []
    played = play(scenario, watch=lambda report: counts.append(torch.get_num_threads()))
    assert counts == [1, 1] and torch.get_num_threads() == 4
    torch.set_num_threads(1)
    assert play(scenario).digest == played.digest
