"""Our rules against ByzFL 0.0.11 (MIT), where its semantics are the same (reference/poisoning.md, section 5)."""

import pytest
import torch

from raysplit.aggregation.rules.mean import Mean
from raysplit.aggregation.rules.median import Median
from raysplit.aggregation.rules.trimmed_mean import TrimmedMean
from tests.attacks.updates.cohorts import aggregate, gaussian


@pytest.mark.parametrize(("n", "m"), [(11, 2), (20, 4), (21, 10)])
def test_coordinatewise_rules(byzfl, n, m):
    updates = gaussian(n, 1003, dtype=torch.float32)
    for ours, reference in [
        (Mean(), byzfl.Average()),
        (TrimmedMean(), byzfl.TrMean(f=m)),
        (Median(even="midpoint"), byzfl.Median()),
    ]:
        torch.testing.assert_close(aggregate(ours, updates, m), reference(updates), rtol=2e-6, atol=2e-6)
