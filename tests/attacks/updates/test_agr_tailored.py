import math

import pytest
import torch

from raysplit.aggregation.rule import AggregationRule
from raysplit.aggregation.rules.mean import Mean
from raysplit.aggregation.rules.median import Median
from raysplit.aggregation.rules.trimmed_mean import TrimmedMean
from raysplit.aggregation.update_attack import UpdateAttack
from raysplit.attacks.updates.agr_tailored import AgrTailored
from raysplit.attacks.updates.perturbation import perturb
from raysplit.channels.channel import Channel
from raysplit.errors import ScenarioError
from tests.attacks.updates.cohorts import aggregate, attacked, gaussian, view_of

ROBUST = [TrimmedMean(), TrimmedMean(f=6), Median(), Median(even="midpoint")]
PERTURBATIONS = ["std", "sign", "unit"]


def torch_search(updates, m, rule, p, start):
    """The published path, with the rule on the materialised stack: an independent, slow one."""
    mean = updates[m:].mean(0)
    gamma = step = start
    success, previous = 0.0, -1.0
    while abs(success - gamma) > 1e-5:
        stack = torch.cat([(mean + gamma * p).expand(m, -1), updates[m:]])
        loss = float((aggregate(rule, stack, m) - mean).norm())
        success, gamma = (gamma, gamma + step / 2) if previous < loss else (success, gamma - step / 2)
        step, previous = step / 2, loss
    return success


@pytest.mark.parametrize("rule", ROBUST, ids=repr)
@pytest.mark.parametrize("perturbation", PERTURBATIONS)
@pytest.mark.parametrize("direction", [-1, 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_closed_form_is_the_maximum(rule, perturbation, direction, dtype):
    updates = gaussian(30, 400, dtype=dtype)
    attack = AgrTailored(perturbation=perturbation, direction=direction, max_gamma=1e9)
    poison = attack.poison(view_of(updates, 6, rule))
    mean = updates[6:].mean(0)
    loss = float((attacked(rule, updates, poison) - mean).norm())
    assert isinstance(attack, UpdateAttack) and poison.rows.shape == (6, 400) and poison.rows.dtype is dtype
    assert poison.record["plateau"] == 1 and poison.record["unbounded"] == 0
    assert math.isclose(loss, poison.record["objective"], rel_tol=2e-6)
    assert poison.record["objective"] <= poison.record["certificate"] * (1 + 1e-12)
    assert poison.record["objective"] >= 0.999 * poison.record["certificate"]
    for gamma in [0.0, 0.1, 0.5, 1.0, 2.0, 4.0, 10.0, 100.0]:
        other = AgrTailored(perturbation=perturbation, direction=direction, gamma=gamma).poison(
            view_of(updates, 6, rule)
        )
        probe = float((attacked(rule, updates, other) - mean).norm())
        assert math.isclose(probe, other.record["objective"], rel_tol=2e-6)
        assert probe <= poison.record["certificate"] * (1 + 2e-6)


@pytest.mark.parametrize("rule", ROBUST, ids=repr)
@pytest.mark.parametrize("perturbation", PERTURBATIONS)
def test_certify_changes_records_and_cost_but_not_the_aggregate(rule, perturbation):
    updates = gaussian(30, 200, dtype=torch.float32)
    with_it, without = (
        AgrTailored(perturbation=perturbation, certify=certify, max_gamma=1e9).poison(view_of(updates, 6, rule))
        for certify in (True, False)
    )
    assert torch.equal(attacked(rule, updates, with_it), attacked(rule, updates, without))
    assert "objective" not in without.record and without.record["gamma"] >= with_it.record["gamma"]


def test_gamma_is_the_least_on_the_plateau():
    updates = gaussian(30, 50)
    poison = AgrTailored().poison(view_of(updates, 6, TrimmedMean()))
    just_less = AgrTailored(gamma=poison.record["gamma"] * 0.99).poison(view_of(updates, 6, TrimmedMean()))
    assert just_less.record["objective"] < poison.record["objective"]
    assert poison.record["gamma"] <= 23 / math.sqrt(24)  # Samuelson


@pytest.mark.parametrize("rule", [TrimmedMean(), Median(), Median(even="midpoint")], ids=repr)
@pytest.mark.parametrize("n_b", [8, 40, 101])
def test_published_search_returns_its_starting_point(rule, n_b):
    m = n_b // 4
    updates = gaussian(n_b + m, 300, dtype=torch.float32)
    updates[:, :50] *= (torch.rand(n_b + m, 50, generator=torch.Generator().manual_seed(0)) < 0.02).float()  # sparse
    poison = AgrTailored(gamma="ndss21").poison(view_of(updates, m, rule))
    assert poison.record["gamma"] == 10.0
    closed = AgrTailored().poison(view_of(updates, m, rule))
    torch.testing.assert_close(attacked(rule, updates, poison), attacked(rule, updates, closed), rtol=0, atol=1e-6)


def test_published_search_from_below_the_plateau_ends_at_twice_its_start():
    updates = gaussian(50, 300)
    for start in (0.01, 0.1):
        gamma = (
            AgrTailored(gamma="ndss21", search_start=start).poison(view_of(updates, 10, TrimmedMean())).record["gamma"]
        )
        assert 2 * start - 2.1e-5 < gamma < 2 * start
    unit = AgrTailored(gamma="ndss21", perturbation="unit").poison(view_of(gaussian(50, 3000), 10, TrimmedMean()))
    assert 20 - 4e-5 < unit.record["gamma"] < 20 and unit.record["probes"] == 20


@pytest.mark.parametrize("rule", ROBUST, ids=repr)
@pytest.mark.parametrize("perturbation", PERTURBATIONS)
@pytest.mark.parametrize("start", [0.3, 3.0])
def test_sort_free_search_walks_the_published_path(rule, perturbation, start):
    updates = gaussian(30, 200)
    attack = AgrTailored(gamma="ndss21", perturbation=perturbation, search_start=start)
    mean, std = updates[6:].mean(0), updates[6:].std(0)
    expected = torch_search(updates, 6, rule, perturb(perturbation, -1, mean, std), start)
    found = attack.poison(view_of(updates, 6, rule)).record["gamma"]
    # On a plateau the slow path compares rounding noise; then only the loss can agree.
    if found != expected:
        same = [
            AgrTailored(gamma=g, perturbation=perturbation).poison(view_of(updates, 6, rule)) for g in (found, expected)
        ]
        assert math.isclose(same[0].record["objective"], same[1].record["objective"], rel_tol=1e-9)


@pytest.mark.parametrize(
    ("m", "trimmed", "median"), [(100, -0.213, -0.140), (200, -0.4237, -0.3186), (300, -0.687, -0.566)]
)
def test_bias_under_gaussian_spread(m, trimmed, median):
    """reference/poisoning.md, finding 4: constants in units of σ."""
    updates = torch.randn(1000, 2000, generator=torch.Generator().manual_seed(5))
    for rule, bias in [(TrimmedMean(), trimmed), (Median(even="midpoint"), median)]:
        poison = AgrTailored(certify=False).poison(view_of(updates, m, rule))
        shift = attacked(rule, updates, poison) - updates[m:].mean(0)
        assert abs(float(shift.mean()) - bias) < 2e-3


def test_closed_aggregate_of_the_trimmed_mean_needs_no_gamma():
    updates = gaussian(30, 100)
    poison = AgrTailored().poison(view_of(updates, 6, TrimmedMean()))
    kept = updates[6:].sort(0).values[: 24 - 6].mean(0)
    torch.testing.assert_close(attacked(TrimmedMean(), updates, poison), kept, rtol=0, atol=1e-12)


@pytest.mark.parametrize("perturbation", PERTURBATIONS)
def test_gamma_zero_sends_the_benign_mean(perturbation):
    updates = gaussian(30, 100)
    poison = AgrTailored(perturbation=perturbation, gamma=0).poison(view_of(updates, 6, Mean()))
    torch.testing.assert_close(poison.rows, updates[6:].mean(0).expand(6, -1))
    torch.testing.assert_close(attacked(Mean(), updates, poison), updates[6:].mean(0))


@pytest.mark.parametrize("perturbation", PERTURBATIONS)
def test_only_std_is_the_same_for_updates_and_for_weights(perturbation):
    """With a fixed γ, so that no plateau hides the difference."""
    updates, weights = (
        gaussian(30, 100),
        torch.randn(100, generator=torch.Generator().manual_seed(9), dtype=torch.float64),
    )
    attack = AgrTailored(perturbation=perturbation, gamma=1.5)
    from_updates = attack.poison(view_of(updates, 6, Median())).rows + weights
    from_weights = attack.poison(view_of(updates + weights, 6, Median())).rows
    assert torch.allclose(from_updates, from_weights, atol=1e-9) == (perturbation == "std")


@pytest.mark.parametrize(("rule", "m"), [(Mean(), 6), (TrimmedMean(f=5), 6), (TrimmedMean(f=0), 1), (Median(), 16)])
def test_where_the_loss_has_no_maximum_the_cap_is_sent(rule, m):
    updates = gaussian(30, 100)
    poison = AgrTailored(max_gamma=7.0).poison(view_of(updates, m, rule))
    assert (
        poison.record["gamma"] == 7.0 and poison.record["unbounded"] == 1 and math.isinf(poison.record["certificate"])
    )
    assert poison.record["objective"] == pytest.approx(
        float((attacked(rule, updates, poison) - updates[m:].mean(0)).norm())
    )


def test_cap_below_the_plateau():
    updates = gaussian(30, 100)
    poison = AgrTailored(max_gamma=0.5).poison(view_of(updates, 6, TrimmedMean()))
    assert poison.record["plateau"] == 0 and poison.record["gamma"] == 0.5
    assert poison.record["objective"] < poison.record["certificate"] < math.inf


@pytest.mark.parametrize("rule", [*ROBUST, Mean()], ids=repr)
@pytest.mark.parametrize("gamma", ["closed", "ndss21", 1.0])
@pytest.mark.parametrize("perturbation", PERTURBATIONS)
def test_partial_knowledge_sees_only_its_own(rule, gamma, perturbation):
    updates = gaussian(30, 100)
    attack = AgrTailored(perturbation=perturbation, knowledge="partial", gamma=gamma)
    poison = attack.poison(view_of(updates, 6, rule, "partial"))
    assert attack.threat_model.knowledge == "partial" and poison.rows.shape == (6, 100)
    mean, std = updates[:6].mean(0), updates[:6].std(0)
    torch.testing.assert_close(poison.rows[0], mean + poison.record["gamma"] * perturb(perturbation, -1, mean, std))
    # It moves the aggregate the way it wants, if not as far as full knowledge does.
    clean = aggregate(rule, updates, 6)
    assert float((attacked(rule, updates, poison) - clean).norm()) > 0


def test_all_honest_reference_averages_every_honest_update():
    updates = gaussian(30, 100)
    poison = AgrTailored(reference="all_honest", gamma=2).poison(view_of(updates, 6, TrimmedMean()))
    torch.testing.assert_close(poison.rows[0], updates.mean(0) - 2 * updates.std(0))


@pytest.mark.parametrize("gamma", ["closed", "ndss21", 2.0])
@pytest.mark.parametrize("perturbation", PERTURBATIONS)
@pytest.mark.parametrize("rule", [Mean(), TrimmedMean(), Median()], ids=repr)
@pytest.mark.parametrize("n_b", [1, 2])
def test_tiny_and_dead_cohorts_give_finite_rows(n_b, rule, perturbation, gamma):
    updates = gaussian(n_b + 1, 20)
    updates[:, :5] = 0.0  # dead units
    trim = min(1, n_b // 2) if isinstance(rule, TrimmedMean) else None
    for knowledge in ("full", "partial"):
        attack = AgrTailored(perturbation=perturbation, gamma=gamma, knowledge=knowledge)
        assert attack.poison(view_of(updates, 1, rule, knowledge, trim)).rows.isfinite().all()


def test_nothing_is_changed_in_place():
    updates = gaussian(30, 100)
    view = view_of(updates, 6, TrimmedMean())
    before = updates.clone()
    first, second = AgrTailored().poison(view), AgrTailored().poison(view)
    assert torch.equal(updates, before) and torch.equal(first.rows, second.rows) and first.record == second.record


class Odd(AggregationRule):
    def aggregate(self, updates, weights, context):
        raise NotImplementedError


def test_errors():
    assert AgrTailored().threat_model.sees == {Channel.UPDATES}
    updates = gaussian(5, 4)
    for bad in (
        {"gamma": -1.0},
        {"max_gamma": 0.0},
        {"search_start": math.inf},
        {"start_round": 0},
        {"perturbation": "x"},
    ):
        with pytest.raises(ScenarioError):
            AgrTailored(**bad)
    with pytest.raises(ScenarioError, match="needs knowledge='full'"):
        AgrTailored(knowledge="partial", reference="all_honest")
    with pytest.raises(ScenarioError, match="give gamma a number"):
        AgrTailored().poison(view_of(updates, 1, Odd()))
    assert AgrTailored(gamma=1.0).poison(view_of(updates, 1, Odd())).rows.shape == (1, 4)
    with pytest.raises(ScenarioError, match="no benign client"):
        AgrTailored().poison(view_of(updates, 5, Mean()))


@pytest.mark.parametrize("rule", [TrimmedMean(), Median(), Median(even="midpoint")], ids=repr)
def test_attack_beats_no_attack_and_the_rule_beats_the_mean(rule):
    updates = gaussian(50, 500)
    truth = updates[10:].mean(0)
    poison = AgrTailored().poison(view_of(updates, 10, rule))
    damage = float((attacked(rule, updates, poison) - truth).norm())
    assert damage > 2 * float((aggregate(rule, updates, 10) - truth).norm())
    against_mean = AgrTailored().poison(view_of(updates, 10, Mean()))
    assert damage < float((attacked(Mean(), updates, against_mean) - truth).norm())
    hit = attacked(rule, updates, poison)
    assert (hit >= updates[10:].amin(0)).all() and (hit <= updates[10:].amax(0)).all()
