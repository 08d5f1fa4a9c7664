"""Attacks that do not look at the rule in place."""

import math

import pytest
import torch

from raysplit.aggregation.gram import centred_gram, squared_distances
from raysplit.aggregation.rules.mean import Mean
from raysplit.aggregation.rules.median import Median
from raysplit.aggregation.rules.trimmed_mean import TrimmedMean
from raysplit.aggregation.update_attack import UpdateAttack
from raysplit.attacks.updates.agr_tailored import AgrTailored
from raysplit.attacks.updates.fang import Fang
from raysplit.attacks.updates.gaussian import GaussianNoise
from raysplit.attacks.updates.ipm import InnerProductManipulation
from raysplit.attacks.updates.lie import LittleIsEnough
from raysplit.attacks.updates.min_max import MinMax
from raysplit.attacks.updates.min_sum import MinSum
from raysplit.attacks.updates.perturbation import perturb
from raysplit.attacks.updates.sign_flip import SignFlip
from raysplit.errors import ScenarioError
from tests.attacks.updates.cohorts import aggregate, attacked, gaussian, view_of

ATTACKS = [
    AgrTailored(),
    AgrTailored(knowledge="partial"),
    LittleIsEnough(z=1.0),
    MinMax(),
    MinMax(knowledge="partial"),
    MinSum(),
    MinSum(bound="min"),
    InnerProductManipulation(epsilon=2.0),
    SignFlip(scale=3.0),
    GaussianNoise(std=30.0),
    Fang(),
    Fang(knowledge="partial"),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_contract_and_damage(attack, dtype):
    updates = gaussian(50, 300, dtype=dtype)
    before, truth = updates.clone(), updates[10:].mean(0)
    knowledge = attack.threat_model.knowledge
    for rule in (Mean(), TrimmedMean(), Median()):
        poison = attack.poison(view_of(updates, 10, rule, knowledge))
        again = attack.poison(view_of(updates, 10, rule, knowledge))
        assert isinstance(attack, UpdateAttack) and attack.start_round == 1
        assert poison.rows.shape == (10, 300) and poison.rows.dtype is dtype and poison.rows.isfinite().all()
        assert torch.equal(poison.rows, again.rows) and torch.equal(updates, before)
        damage = float((attacked(rule, updates, poison) - truth).norm())
        if not isinstance(rule, Median) or "min" not in repr(attack):
            assert damage > float((aggregate(rule, updates, 10) - truth).norm())
        if isinstance(rule, Mean):
            of_mean = damage
    if isinstance(attack, AgrTailored | GaussianNoise | Fang):  # those that shout: robust rules must help
        for rule in (TrimmedMean(), Median()):
            hit = attacked(rule, updates, attack.poison(view_of(updates, 10, Mean(), knowledge)))
            assert float((hit - truth).norm()) < of_mean


def bisected(feasible, high=1e4):
    low = 0.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if feasible(middle) else (low, middle)
    return low


@pytest.mark.parametrize("perturbation", ["std", "sign", "unit"])
@pytest.mark.parametrize("direction", [-1, 1])
def test_min_max_and_min_sum_are_the_largest_feasible_gamma(perturbation, direction):
    updates = gaussian(20, 200)
    updates[7] *= 3  # one benign row far out
    benign = updates[4:]
    mean, p = benign.mean(0), perturb(perturbation, direction, benign.mean(0), benign.std(0))
    distances = torch.cdist(benign, benign, compute_mode="donot_use_mm_for_euclid_dist").square()

    def to_benign(gamma):
        return (mean + gamma * p - benign).square().sum(1)

    view = view_of(updates, 4, Mean())
    expected = {
        MinMax: bisected(lambda g: to_benign(g).max() <= distances.max()),
        MinSum: bisected(lambda g: to_benign(g).sum() <= distances.sum(1).max()),
    }
    for attack, gamma in expected.items():
        found = attack(perturbation=perturbation, direction=direction).poison(view).record["gamma"]
        assert math.isclose(found, gamma, rel_tol=1e-9)
    lowest = MinSum(perturbation=perturbation, direction=direction, bound="min").poison(view).record["gamma"]
    assert math.isclose(lowest, bisected(lambda g: to_benign(g).sum() <= distances.sum(1).min()), rel_tol=1e-6)
    in_single = MinMax(perturbation=perturbation, direction=direction).poison(view_of(updates.float(), 4, Mean()))
    assert math.isclose(in_single.record["gamma"], expected[MinMax], rel_tol=2e-5)


@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_fang_and_the_sign_attack_leave_the_same_aggregate(offset):
    """reference/poisoning.md, finding 3: bit for bit, for means of either sign and values on both sides of zero."""
    updates = gaussian(50, 2000, dtype=torch.float32)
    updates[:, ::2] += offset
    updates[:, 1::2] -= offset
    updates[:, :3] = 0
    for rule in (TrimmedMean(), Median(), Median(even="midpoint")):
        fang = Fang().poison(view_of(updates, 10, rule))
        sign = AgrTailored(perturbation="sign").poison(view_of(updates, 10, rule))
        assert torch.equal(attacked(rule, updates, fang), attacked(rule, updates, sign))
        mean = updates[10:].mean(0)
        rows = fang.rows
        assert (rows <= updates[10:].amin(0))[:, mean > 0].all() and (rows >= updates[10:].amax(0))[:, mean < 0].all()
        assert len(torch.unique(rows[:, 10])) == 10


def test_small_attacks_are_their_formulas():
    updates = gaussian(20, 30)
    view = view_of(updates, 4, Mean())
    torch.testing.assert_close(InnerProductManipulation(epsilon=0.5).poison(view).rows[2], -0.5 * updates[4:].mean(0))
    assert torch.equal(SignFlip().poison(view).rows, -updates[:4])
    wide = view_of(gaussian(20, 20_000), 4, Mean())
    noise = GaussianNoise(std=3.0).poison(wide).rows
    assert abs(float(noise.mean())) < 0.05 and abs(float(noise.std()) - 3) < 0.05


@pytest.mark.parametrize("n_b", [1, 2])
@pytest.mark.parametrize("attack", [*ATTACKS[3:7], Fang()], ids=repr)
def test_tiny_and_dead_cohorts(attack, n_b):
    updates = gaussian(n_b + 1, 20)
    updates[:, :10] = 0
    assert attack.poison(view_of(updates, 1, Mean(), attack.threat_model.knowledge)).rows.isfinite().all()


def test_gram_shards_add_up():
    rows, centre, extra = gaussian(9, 25_000), torch.randn(25_000, dtype=torch.float64), gaussian(1, 25_000, 3)[0]
    whole = centred_gram(rows, centre, extra)
    parts = sum(centred_gram(rows[:, a:b], centre[a:b], extra[a:b]) for a, b in [(0, 1), (1, 10_240), (10_240, 25_000)])
    torch.testing.assert_close(whole, parts)
    expected = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist").square()
    torch.testing.assert_close(squared_distances(whole[:-1, :-1]), expected)


def test_errors():
    for bad in (
        lambda: InnerProductManipulation(epsilon=0.0),
        lambda: SignFlip(scale=-1.0),
        lambda: GaussianNoise(std=math.inf),
        lambda: Fang(spread=1.0),
        lambda: MinMax(start_round=0),
        lambda: MinSum(bound="mean"),
    ):
        with pytest.raises(ScenarioError):
            bad()
