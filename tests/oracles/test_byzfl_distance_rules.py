"""Our distance rules against ByzFL 0.0.11 (MIT), where its semantics are the same (reference/poisoning.md, section
5)."""

import pytest
import torch

from raysplit.aggregation.rules.centred_clipping import CentredClipping
from raysplit.aggregation.rules.composed import Composed
from raysplit.aggregation.rules.geometric_median import GeometricMedian
from raysplit.aggregation.rules.krum import Krum
from raysplit.aggregation.rules.mean_around_median import MeanAroundMedian
from raysplit.aggregation.rules.multi_krum import MultiKrum
from raysplit.aggregation.rules.nearest_neighbour_mixing import NearestNeighbourMixing
from raysplit.aggregation.rules.norm_clipping import NormClipping
from raysplit.aggregation.rules.trimmed_mean import TrimmedMean
from tests.attacks.updates.cohorts import aggregate, context, gaussian


@pytest.mark.parametrize(("n", "m"), [(11, 2), (20, 4), (21, 9)])
def test_distance_rules(byzfl, n, m):
    updates = gaussian(n, 1003, dtype=torch.float32)
    updates[:m] *= 2
    for ours, reference in [
        (Krum("n-f-1"), byzfl.Krum(f=m)),
        (MultiKrum(neighbours="n-f-1"), byzfl.MultiKrum(f=m)),
        (GeometricMedian(3, 0.1, "zero"), byzfl.GeometricMedian(nu=0.1, T=3)),
        (MeanAroundMedian(even="midpoint"), byzfl.Meamed(f=m)),
        (CentredClipping(20.0, 2, "zero"), byzfl.CenteredClipping(L=2, tau=20.0)),
    ]:
        torch.testing.assert_close(aggregate(ours, updates, m), reference(updates), rtol=5e-6, atol=5e-6)


@pytest.mark.parametrize(("n", "m"), [(11, 2), (20, 4), (21, 9)])
def test_pre_aggregations(byzfl, n, m):
    updates = gaussian(n, 1003, dtype=torch.float32)
    reference = byzfl.NNM(f=m)(updates)
    ours = NearestNeighbourMixing().mix(updates, torch.full((n,), 1 / n), context(n, m)).updates
    torch.testing.assert_close(ours, reference, rtol=5e-6, atol=5e-6)
    composed = aggregate(Composed((NearestNeighbourMixing(),), TrimmedMean()), updates, m)
    torch.testing.assert_close(composed, byzfl.TrMean(f=m)(reference), rtol=5e-6, atol=5e-6)
    clipped = byzfl.Clipping(c=40.0)(updates.clone()).mean(0)  # it changes its input
    torch.testing.assert_close(aggregate(NormClipping(40.0), updates, 0), clipped, rtol=5e-6, atol=5e-6)
