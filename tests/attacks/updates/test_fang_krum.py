"""Fang et al.'s attack on Krum against their equations 2 to 4 in plain loops, and against Krum itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from raysplit import FangKrum, Krum, Mean, Median, Scheduled, SplitFedV1
from raysplit.errors import ScenarioError
from raysplit.population.selection.cohort import Cohort
from tests.attacks.updates.cohorts import aggregate, attacked, context, gaussian, view_of
from tests.toys import play, toy


def updates_of(n: int, d: int, seed: int, drift: float = 0.1, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Updates that differ among one another more than they have in common, as after a step on one batch."""
    generator = torch.Generator().manual_seed(seed)
    common = drift * torch.randn(d, generator=generator, dtype=torch.float64)
    return (common + torch.randn(n, d, generator=generator, dtype=torch.float64)).to(dtype)


def by_krum(rows: list[np.ndarray], c: int, less: int = 2) -> int:
    """Which row Krum selects that reckons with ``c`` malicious ones: squared distances to the m - c - ``less``
    nearest."""
    scores = []
    for i, row in enumerate(rows):
        others = sorted(float(((row - other) ** 2).sum()) for j, other in enumerate(rows) if j != i)
        scores.append(sum(others[: max(1, len(rows) - c - less)]))
    return scores.index(min(scores))


def theorem_1(benign: list[np.ndarray], m: int, c: int) -> float:
    sums = []
    for i, row in enumerate(benign):
        others = sorted(float(np.linalg.norm(row - other)) for j, other in enumerate(benign) if j != i)
        sums.append(sum(others[: m - c - 2]))
    farthest = max(float(np.linalg.norm(row)) for row in benign)
    root = math.sqrt(len(benign[0]))
    return min(sums) / ((m - 2 * c - 1) * root) + farthest / root


def halved(bound: float, crafted: int, sign: np.ndarray, benign: list[np.ndarray], c: int, less: int = 2) -> float:
    strength = bound
    while strength >= 1e-5:
        rows = [-strength * sign] * crafted + benign
        if by_krum(rows, c, less) < crafted:
            return strength
        strength /= 2
    return 0.0


def full(updates: torch.Tensor, c: int) -> tuple[float, np.ndarray]:
    rows = list(updates.numpy())
    sign = np.where(rows[by_krum(rows, c)] > 0, 1.0, -1.0)
    benign = rows[c:]
    return halved(theorem_1(benign, len(rows), c), c, sign, benign, c), sign


def partial(own: torch.Tensor) -> tuple[float, int, np.ndarray]:
    """λ, the number of crafted updates that it took, and the estimated direction."""
    rows = list(own.numpy())
    sign = np.where(np.mean(rows, axis=0) > 0, 1.0, -1.0)
    for crafted in range(1, len(rows) - 1):
        bound = theorem_1(rows, len(rows) + crafted, crafted)
        strength = halved(bound, crafted, sign, rows, crafted)
        if strength:
            return strength, crafted, sign
    raise AssertionError("the cases of these tests have a solution before crafted updates are among themselves")


CASES = [(20, 4, 50), (20, 4, 400), (15, 6, 60), (30, 2, 100), (11, 1, 30)]


@pytest.mark.parametrize(("n", "c", "d"), CASES)
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("drift", [0.1, 0.7, 3.0])
def test_with_full_knowledge_it_is_the_solution_of_equation_2(n: int, c: int, d: int, seed: int, drift: float) -> None:
    updates = updates_of(n, d, seed, drift)
    strength, sign = full(updates, c)
    poison = FangKrum(epsilon=0.0).poison(view_of(updates, c, Krum()))
    assert poison.record["gamma"] == pytest.approx(strength, rel=1e-9)
    assert poison.record["selected"] == (strength > 0)
    expected = torch.from_numpy(-strength * sign).expand(c, -1) if strength else updates[:c]
    torch.testing.assert_close(poison.rows, expected)


@pytest.mark.parametrize(("n", "c", "d"), [(40, 8, 50), (40, 8, 300), (30, 6, 100), (30, 10, 200)])
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("drift", [0.1, 1.0, 1.5])
def test_with_partial_knowledge_it_is_the_solution_of_equation_4(
    n: int, c: int, d: int, seed: int, drift: float
) -> None:
    updates = updates_of(n, d, seed, drift)
    strength, crafted, sign = partial(updates[:c])
    poison = FangKrum("partial", epsilon=0.0).poison(view_of(updates, c, Krum(), "partial"))
    assert (poison.record["gamma"], poison.record["crafted"]) == (pytest.approx(strength, rel=1e-9), crafted)
    torch.testing.assert_close(poison.rows, torch.from_numpy(-strength * sign).expand(c, -1))


def test_the_cases_above_have_and_lack_a_solution_and_take_one_crafted_update_or_more() -> None:
    found = [full(updates_of(n, d, 0, drift), c)[0] > 0 for n, c, d in CASES for drift in (0.1, 0.7, 3.0)]
    assert any(found) and not all(found)
    crafted = {partial(updates_of(40, 50, 0, drift)[:8])[1] for drift in (0.1, 1.0, 1.5)}
    assert 1 in crafted and len(crafted) > 1


@pytest.mark.parametrize("rule", [Krum(), Krum("n-f-1"), Krum(f=3), Krum("n-f-1", f=6)], ids=repr)
@pytest.mark.parametrize("epsilon", [0.0, 0.01, 1.0])
@pytest.mark.parametrize("seed", range(2))
def test_krum_selects_a_malicious_update_whenever_it_says_so(rule: Krum, epsilon: float, seed: int) -> None:
    updates, c = updates_of(25, 400, seed, dtype=torch.float32), 5
    poison = FangKrum(epsilon=epsilon).poison(view_of(updates, c, rule))
    rows = torch.cat([poison.rows, updates[c:]])
    selected = rule.aggregate(rows, torch.full((25,), 1 / 25), context(25, c)).selected
    assert poison.record["selected"] == 1 and selected is not None and bool(selected[:c].any())
    before, after = aggregate(rule, updates, c), attacked(rule, updates, poison)
    assert float(after @ before.sign()) < 0 < float(before @ before.sign())


def test_the_other_malicious_updates_are_at_most_epsilon_away_and_no_two_are_equal() -> None:
    updates = updates_of(25, 500, 0)
    exact = FangKrum(epsilon=0.0).poison(view_of(updates, 5, Krum())).rows[0]
    rows = FangKrum(epsilon=0.5).poison(view_of(updates, 5, Krum())).rows
    torch.testing.assert_close(rows[0], exact)
    away = (rows[1:] - rows[0]).norm(dim=1)
    assert float(away.min()) > 0 and float(away.max()) <= 0.5 and len(away.unique()) == 4


def test_where_no_deviation_is_selected_the_honest_updates_are_sent() -> None:
    updates = gaussian(20, 100) * 0.01 + 1.0  # far from 0 and close to one another
    poison = FangKrum().poison(view_of(updates, 4, Krum()))
    assert (poison.record["gamma"], poison.record["selected"]) == (0.0, 0.0)
    assert poison.rows.equal(updates[:4])


@pytest.mark.parametrize("c", [1, 2, 3])
def test_few_malicious_clients_with_partial_knowledge_find_a_deviation_too(c: int) -> None:
    updates = updates_of(20, 100, 0, drift=3.0)
    poison = FangKrum("partial").poison(view_of(updates, c, Krum(), "partial"))
    assert poison.rows.shape == (c, 100) and poison.record["selected"] == 1 and poison.record["gamma"] > 0


def test_against_another_rule_it_reckons_with_a_krum_that_knows_m() -> None:
    updates = updates_of(25, 200, 0)
    against_krum = FangKrum().poison(view_of(updates, 5, Krum())).rows
    for rule in (Mean(), Median()):
        assert FangKrum().poison(view_of(updates, 5, rule)).rows.equal(against_krum)
    assert not FangKrum().poison(view_of(updates, 5, Krum("n-f-1", f=9))).rows.equal(against_krum)


def test_what_cannot_be_is_refused() -> None:
    for wrong in ({"epsilon": -1.0}, {"epsilon": math.inf}, {"threshold": 0.0}, {"start_round": 0}):
        with pytest.raises(ScenarioError, match=rf"FangKrum\.{next(iter(wrong))}"):
            FangKrum(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("knowledge", ["full", "partial"])
def test_in_a_run_it_lies_from_its_start_round_on_and_with_full_knowledge_krum_takes_it(knowledge: str) -> None:
    cohort = Cohort(size=12, malicious=0.25, of="cohort")
    attack = Scheduled(FangKrum(knowledge, threshold=1e-9, epsilon=1e-4), start_round=2)  # type: ignore[arg-type]
    played = play(toy(SplitFedV1(), clients=12, cohort=cohort, defense=Krum(), attack=attack))
    rows = [row for row in played.tables["aggregation"].to_pylist() if row["portion"] == "client"]
    [record] = played.tables["attacks"].to_pylist()
    assert (record["attack"], record["m"], record["knowledge"]) == ("FangKrum", 3, knowledge)
    assert record["gamma"] > 0
    assert knowledge == "partial" or rows[1]["selected_malicious"] == 1
