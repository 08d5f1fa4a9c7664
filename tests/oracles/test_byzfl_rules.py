"""Our rules against ByzFL 0.0.11 (MIT), where its semantics are the same (reference/poisoning.md, section 5)."""

import pytest
import torch

from raysplit.defenses.aggregation.mean import Mean
from raysplit.defenses.aggregation.median import Median
from raysplit.defenses.aggregation.trimmed_mean import TrimmedMean
from tests.attacks.poisoning.cohorts import aggregate, gaussian


@pytest.mark.parametrize(("n", "m"), [(11, 2), (20, 4), (21, 10)])
def test_coordinatewise_rules(byzfl, n, m):
    updates = gaussian(n, 1003, dtype=torch.float32)
    for ours, theirs in [
        (Mean(), byzfl.Average()),
        (TrimmedMean(), byzfl.TrMean(f=m)),
        (Median(even="midpoint"), byzfl.Median()),
    ]:
        torch.testing.assert_close(aggregate(ours, updates, m), theirs(updates), rtol=2e-6, atol=2e-6)
