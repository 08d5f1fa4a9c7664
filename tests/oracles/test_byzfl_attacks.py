"""ARC and the optimised attacks against ByzFL 0.0.11 (MIT); where the two differ, see docs/oracles.md."""

import pytest
import torch

from raysplit.aggregation.rules.adaptive_robust_clipping import AdaptiveRobustClipping
from raysplit.aggregation.rules.clipping import Clipping
from raysplit.aggregation.rules.composed import Composed
from raysplit.aggregation.rules.geometric_median import GeometricMedian
from raysplit.aggregation.rules.krum import Krum
from raysplit.aggregation.rules.mean import Mean
from raysplit.aggregation.rules.median import Median
from raysplit.aggregation.rules.multi_krum import MultiKrum
from raysplit.aggregation.rules.nearest_neighbour_mixing import NearestNeighbourMixing
from raysplit.aggregation.rules.trimmed_mean import TrimmedMean
from raysplit.attacks.updates.ipm import InnerProductManipulation
from raysplit.attacks.updates.lie import LittleIsEnough
from raysplit.attacks.updates.mimic import Mimic
from raysplit.attacks.updates.optimal_ipm import OptimalInnerProductManipulation
from raysplit.attacks.updates.optimal_lie import OptimalLittleIsEnough
from tests.attacks.updates.cohorts import aggregate, context, gaussian, view_of

CLOSE = {"rtol": 5e-6, "atol": 5e-6}
SHAPES = [(11, 2), (20, 4), (21, 9)]


@pytest.mark.parametrize(("n", "f"), [*SHAPES, (11, 0), (12, 5)])
def test_adaptive_robust_clipping(byzfl, n, f):
    updates = gaussian(n, 303, dtype=torch.float32)
    updates[:f] *= 5
    ours = AdaptiveRobustClipping().mix(updates, torch.full((n,), 1 / n), context(n, f)).updates
    torch.testing.assert_close(ours, byzfl.ARC(f=f)(updates.clone()), **CLOSE)  # it changes its input
    composed = aggregate(Composed((AdaptiveRobustClipping(), NearestNeighbourMixing()), TrimmedMean()), updates, f)
    reference = byzfl.TrMean(f=f)(byzfl.NNM(f=f)(byzfl.ARC(f=f)(updates.clone())))
    torch.testing.assert_close(composed, reference, **CLOSE)


def test_byzfl_counts_the_clipped_rows_in_floating_point_to_the_same_effect():
    assert all(int((2 * f / n) * (n - f)) == 2 * f * (n - f) // n for n in range(1, 200) for f in range((n + 1) // 2))


@pytest.mark.parametrize("bound", [3.0, 40.0])
def test_clipping(byzfl, bound):
    updates = gaussian(11, 303, dtype=torch.float32)
    ours = Clipping(bound).mix(updates, torch.full((11,), 1 / 11), context(11, 0)).updates
    torch.testing.assert_close(ours, byzfl.Clipping(c=bound)(updates.clone()), **CLOSE)


def pairs(byzfl, m):
    """Our rules, theirs, and their pre-aggregations."""
    return [
        (Mean(), byzfl.Average(), []),
        (TrimmedMean(), byzfl.TrMean(f=m), []),
        (Median(even="midpoint"), byzfl.Median(), []),
        (Krum("n-f-1"), byzfl.Krum(f=m), []),
        (MultiKrum(neighbours="n-f-1"), byzfl.MultiKrum(f=m), []),
        (GeometricMedian(3, 0.1, "zero"), byzfl.GeometricMedian(nu=0.1, T=3), []),
        (Composed((Clipping(2.0),), TrimmedMean()), byzfl.TrMean(f=m), [byzfl.Clipping()]),
        (Composed((NearestNeighbourMixing(),), Median("midpoint")), byzfl.Median(), [byzfl.NNM(f=m)]),
    ]


@pytest.mark.parametrize(("n", "m"), [(11, 2), (21, 5)])
@pytest.mark.parametrize("which", range(8))
def test_optimal_attacks(byzfl, byzfl_attacks, n, m, which):
    updates = gaussian(n, 53, seed=which, dtype=torch.float32)
    honest = updates[m:]
    rule, reference, before = pairs(byzfl, m)[which]
    view = view_of(updates, m, rule)
    plateau = isinstance(rule, TrimmedMean | Median | GeometricMedian | Composed)
    for ours, attack in [
        (OptimalLittleIsEnough(sign=1), byzfl_attacks.Optimal_ALittleIsEnough),
        (OptimalInnerProductManipulation(), byzfl_attacks.Optimal_InnerProductManipulation),
    ]:
        poison, row = ours.poison(view), attack(reference, pre_agg_list=before, f=m)(honest)
        reached = aggregate(rule, torch.cat([row.expand(m, -1), honest]), m)
        aggregated = aggregate(rule, torch.cat([poison.rows, honest]), m)
        damage = [float((result - honest.mean(0)).norm()) for result in (aggregated, reached)]
        assert damage[0] == pytest.approx(damage[1], rel=1e-5)
        assert poison.record["objective"] == pytest.approx(damage[0], rel=1e-5)
        if not plateau:  # on a plateau, or near it, rounding decides which of equal factors is taken
            torch.testing.assert_close(poison.rows[0], row, rtol=1e-5, atol=1e-5)


def test_fixed_factors_and_mimic(byzfl_attacks):
    updates = gaussian(20, 53, dtype=torch.float32)
    view, honest = view_of(updates, 4, Mean()), updates[4:]
    for ours, reference in [
        (LittleIsEnough(z=1.5, sign=1), byzfl_attacks.ALittleIsEnough(tau=1.5)),
        (InnerProductManipulation(epsilon=2.0), byzfl_attacks.InnerProductManipulation(tau=2.0)),
        (Mimic(target=3), byzfl_attacks.Mimic(epsilon=3)),
    ]:
        torch.testing.assert_close(ours.poison(view).rows[0], reference(honest), **CLOSE)
