"""AgrTailored against rules that select rows: Krum, Multi-Krum, Bulyan."""

import numpy as np
import pytest
import torch

from raysplit.aggregation.rule import RoundContext
from raysplit.aggregation.rules.bulyan import Bulyan
from raysplit.aggregation.rules.krum import Krum
from raysplit.aggregation.rules.mean import Mean
from raysplit.aggregation.rules.median import Median
from raysplit.aggregation.rules.multi_krum import MultiKrum
from raysplit.attacks.updates.agr_tailored import AgrTailored
from raysplit.attacks.updates.gamma_search import selection_search
from raysplit.attacks.updates.min_max import MinMax
from raysplit.attacks.updates.perturbation import perturb
from raysplit.attacks.updates.selection_game import SelectingRule, SelectionGame
from raysplit.errors import ScenarioError
from tests.attacks.updates.cohorts import aggregate, attacked, context, gaussian, view_of

RULES = [Krum(), Krum("n-f-1"), MultiKrum(), MultiKrum(select=3), Bulyan(), Bulyan("n-f-1")]


def select(rule, rows, m):
    n = rows.shape[0]
    return rule.aggregate(rows, torch.full((n,), 1 / n, dtype=rows.dtype), context(n, m)).selected


def fooled(rule, updates, m, value):
    selected = select(rule, torch.cat([value.expand(m, -1), updates[m:]]), m)
    return int(selected[:m].sum()) == min(m, int(selected.sum()))


@pytest.mark.parametrize("rule", RULES, ids=repr)
@pytest.mark.parametrize("perturbation", ["std", "sign", "unit"])
@pytest.mark.parametrize("seed", range(2))
def test_gamma_is_the_largest_at_which_the_clones_are_selected(rule, perturbation, seed):
    updates, m = gaussian(27, 80, seed=seed), 5
    mean, std = updates[m:].mean(0), updates[m:].std(0)
    p = perturb(perturbation, -1, mean, std)
    attack = AgrTailored(perturbation=perturbation, max_gamma=1e6)
    poison = attack.poison(view_of(updates, m, rule))
    gamma = poison.record["gamma"]
    assert isinstance(rule, SelectingRule) and poison.record["fooled"] == 1 and gamma > 0
    assert fooled(rule, updates, m, mean + gamma * p) and not fooled(rule, updates, m, mean + gamma * 1.001 * p)
    torch.testing.assert_close(poison.rows, (mean + gamma * p).expand(m, -1))
    # The materialised stack, bisected by the rule itself.
    low, high = 0.0, 4 * gamma
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if fooled(rule, updates, m, mean + middle * p) else (low, middle)
    assert gamma == pytest.approx(low, rel=3e-4)


@pytest.mark.parametrize("rule", RULES, ids=repr)
@pytest.mark.parametrize("seed", range(3))
def test_it_beats_no_attack_and_min_max_and_the_rule_beats_the_mean(rule, seed):
    updates, m = gaussian(27, 300, seed=seed), 5
    truth = updates[m:].mean(0)
    poison = AgrTailored().poison(view_of(updates, m, rule))
    hit = attacked(rule, updates, poison)
    along = -updates[m:].std(0) / updates[m:].std(0).norm()
    push, of_none = float((hit - truth) @ along), float((aggregate(rule, updates, m) - truth) @ along)
    assert push > of_none + 0.1
    assert push >= 0.999 * float((attacked(rule, updates, MinMax().poison(view_of(updates, m, rule))) - truth) @ along)
    against_mean = AgrTailored().poison(view_of(updates, m, Mean()))
    assert (hit - truth).norm() < (attacked(Mean(), updates, against_mean) - truth).norm()


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_in_single_precision_the_clones_are_selected_too(rule):
    for seed in range(4):
        updates = gaussian(27, 2000, seed=seed, dtype=torch.float32)
        poison = AgrTailored().poison(view_of(updates, 5, rule))
        selected = select(rule, torch.cat([poison.rows, updates[5:]]), 5)
        assert int(selected[:5].sum()) == min(5, int(selected.sum()))


def test_distances_are_those_of_the_stack():
    benign = gaussian(9, 30)
    mean, p = benign.mean(0), -benign.std(0)
    game = SelectionGame.of(Krum(), benign, mean, p, 3, 3)
    stack = torch.cat([(mean + 1.7 * p).expand(3, -1), benign])
    expected = torch.cdist(stack, stack, compute_mode="donot_use_mm_for_euclid_dist").square()
    torch.testing.assert_close(game.distances(1.7), expected, rtol=1e-9, atol=1e-9)


def test_the_published_walk():
    updates = gaussian(27, 300)
    exact = AgrTailored().poison(view_of(updates, 5, MultiKrum())).record["gamma"]
    walked = AgrTailored(gamma="ndss21", search_start=3.0).poison(view_of(updates, 5, MultiKrum())).record
    assert walked["gamma"] == pytest.approx(exact, rel=3e-4) and walked["fooled"] == 1
    assert selection_search(lambda g: g <= 4.2, 3.0)[0] == pytest.approx(4.2, abs=2e-5)
    assert selection_search(lambda g: True, 3.0)[0] == pytest.approx(6.0, abs=4e-5)
    assert selection_search(lambda g: False, 3.0)[0] == 0


def test_a_lone_clone_a_rule_without_protection_and_dead_directions():
    updates = gaussian(27, 300)
    alone = AgrTailored().poison(view_of(updates, 1, Krum()))  # no twin, but close to everybody
    assert alone.record["fooled"] == 1 and select(Krum(), torch.cat([alone.rows, updates[1:]]), 1)[0]
    view = view_of(updates, 9, Krum(f=2))
    assert AgrTailored(max_gamma=7.0).poison(view).record["gamma"] < 7.0
    trusting = RoundContext(1, np.arange(27), 0, 20, np.random.default_rng(0))
    view = view_of(updates, 20, MultiKrum(select=3, f=16))  # five neighbours, and every clone has nineteen twins
    free = AgrTailored(max_gamma=7.0).poison(view)
    assert trusting.actual == 20 and free.record["gamma"] == pytest.approx(7.0 * (1 - 1e-4))
    flat = gaussian(1, 10)[0].expand(11, -1).clone()
    dead = AgrTailored().poison(view_of(flat, 2, Krum()))
    assert dead.record["gamma"] == 0 and torch.allclose(dead.rows, flat[:2])


def test_a_declared_count_is_what_the_rule_reckons_with():
    updates = gaussian(27, 300)
    rule = MultiKrum(f="assumed")
    view = view_of(updates, 5, rule)
    known = RoundContext(1, np.arange(27), 2, 5, np.random.default_rng(0))
    told = AgrTailored().poison(type(view)(**{**vars(view), "context": known}))
    n = len(updates)
    rows = torch.cat([told.rows, updates[5:]])
    assert rule.aggregate(rows, torch.full((n,), 1 / n), known).selected[:5].all()
    assert told.record["gamma"] != AgrTailored().poison(view).record["gamma"]


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_partial_knowledge(rule):
    updates = gaussian(30, 100)
    poison = AgrTailored(knowledge="partial").poison(view_of(updates, 12, rule, "partial"))
    mean, std = updates[:12].mean(0), updates[:12].std(0)
    torch.testing.assert_close(poison.rows[0], mean - poison.record["gamma"] * std)
    assert poison.rows.shape == (12, 100)


def test_stealth_is_for_rules_that_average_order_statistics():
    with pytest.raises(ScenarioError, match="use gamma='closed'"):
        AgrTailored(gamma="stealth").poison(view_of(gaussian(27, 30), 5, Krum()))
    with pytest.raises(ScenarioError, match=r"AgrTailored\.keep"):
        AgrTailored(keep=0.0)


@pytest.mark.parametrize("rule", [Median(), Median(even="midpoint"), Mean()], ids=repr)
@pytest.mark.parametrize("keep", [0.5, 0.9, 0.99])
def test_stealth_is_the_smallest_gamma_that_keeps_the_damage(rule, keep):
    updates = gaussian(30, 200)
    most = AgrTailored().poison(view_of(updates, 6, rule)).record
    quiet = AgrTailored(gamma="stealth", keep=keep).poison(view_of(updates, 6, rule))
    assert quiet.record["objective"] >= keep * most["objective"]
    assert quiet.record["objective"] == pytest.approx(keep * most["objective"], rel=1e-3)
    assert quiet.record["gamma"] < most["gamma"]
    moved = (attacked(rule, updates, quiet) - updates[6:].mean(0)).norm()
    assert float(moved) == pytest.approx(quiet.record["objective"])
    if isinstance(rule, Mean):
        assert quiet.record["gamma"] == pytest.approx(keep * most["gamma"], rel=1e-3)
