"""Our rules against ByzFL 0.0.11 (MIT), where its semantics are the same (reference/poisoning.md, section 5)."""

import importlib.util
import sys
import types
from pathlib import Path

import pytest
import torch

from raysplit.defenses.aggregation.mean import Mean
from raysplit.defenses.aggregation.median import Median
from raysplit.defenses.aggregation.trimmed_mean import TrimmedMean
from tests.attacks.poisoning.cohorts import aggregate, gaussian


@pytest.fixture(scope="module")
def byzfl():
    """ByzFL's aggregators; its package __init__ would also import plotting libraries, so an empty one stands in for it."""
    spec = importlib.util.find_spec("byzfl")
    if spec is None or spec.origin is None:
        pytest.skip("byzfl is not installed (pip install --no-deps byzfl)")
    package = types.ModuleType("byzfl")
    package.__path__ = [str(Path(spec.origin).parent)]
    before = set(sys.modules)
    sys.modules["byzfl"] = package
    try:
        yield importlib.import_module("byzfl.aggregators.aggregators")
    finally:
        for name in set(sys.modules) - before:
            if name.split(".")[0] == "byzfl":
                del sys.modules[name]


@pytest.mark.parametrize(("n", "m"), [(11, 2), (20, 4), (21, 10)])
def test_coordinatewise_rules(byzfl, n, m):
    updates = gaussian(n, 1003, dtype=torch.float32)
    for ours, theirs in [
        (Mean(), byzfl.Average()),
        (TrimmedMean(), byzfl.TrMean(f=m)),
        (Median(even="midpoint"), byzfl.Median()),
    ]:
        torch.testing.assert_close(aggregate(ours, updates, m), theirs(updates), rtol=2e-6, atol=2e-6)
