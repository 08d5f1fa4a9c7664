"""Rules that know more than a round's updates: FLTrust a reference, FoolsGold the past, CRFL the model."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raysplit.aggregation.rules.bucketing import Bucketing
from raysplit.aggregation.rules.centred_clipping import CentredClipping
from raysplit.aggregation.rules.composed import Composed
from raysplit.aggregation.rules.crfl import CRFL
from raysplit.aggregation.rules.fltrust import FLTrust
from raysplit.aggregation.rules.fools_gold import FoolsGold
from raysplit.aggregation.rules.krum import Krum
from raysplit.aggregation.rules.median import Median
from raysplit.errors import ScenarioError
from tests.attacks.updates.cohorts import context, gaussian

matrices = st.tuples(st.integers(2, 9), st.integers(2, 6), st.integers(0, 10_000)).map(
    lambda shape: gaussian(shape[0], shape[1], seed=shape[2])
)
small = settings(max_examples=40, deadline=None)


def run(rule, updates, m=0, **told):
    n = updates.shape[0]
    weights = torch.full((n,), 1 / n, dtype=updates.dtype)
    return rule.aggregate(updates, weights, replace(context(n, m), **told))


@given(updates=matrices, seed=st.integers(0, 99))
@small
def test_fltrust_is_its_formula(updates, seed):
    reference = gaussian(1, updates.shape[1], seed=seed + 20_000)[0]
    result = run(FLTrust(), updates, reference=reference)
    trust = [max(0.0, float(u @ reference / u.norm() / reference.norm())) for u in updates]
    rows = [t * u / u.norm() * reference.norm() for t, u in zip(trust, updates, strict=True)]
    expected = sum(rows) / sum(trust) if sum(trust) else torch.zeros_like(reference)
    torch.testing.assert_close(result.update, expected)
    assert result.selected.tolist() == [t > 0 for t in trust]
    assert result.record == {
        "trusted": sum(t > 0 for t in trust),
        "trust": pytest.approx(sum(trust) / len(trust)),
        "broken": 0,
    }
    assert result.update.norm() <= reference.norm() * (1 + 1e-9)
    # Only directions count: no client's length matters.
    lengths = torch.rand(len(updates), 1, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) + 0.1
    torch.testing.assert_close(run(FLTrust(), updates * lengths, reference=reference).update, result.update)
    torch.testing.assert_close(run(FLTrust(), updates, reference=5 * reference).update, 5 * result.update)


def test_fltrust_without_anything_to_trust():
    updates = gaussian(5, 8)
    reference = torch.ones(8, dtype=torch.float64)
    against = run(FLTrust(), -reference.expand(5, -1), reference=reference)
    assert not against.update.any() and against.record == {"trusted": 0, "trust": 0, "broken": 0}
    for useless in (torch.zeros(8, dtype=torch.float64), torch.full((8,), torch.nan, dtype=torch.float64)):
        result = run(FLTrust(), updates, reference=useless)
        assert not result.update.any() and result.record["broken"] == 1
    with pytest.raises(ScenarioError, match="no update of its root clients"):
        run(FLTrust(), updates)
    assert Composed((Bucketing(),), FLTrust((3, 4))).roots == (3, 4) and CRFL(1.0, rule=FLTrust((2,))).roots == (2,)
    assert Composed((), Median()).roots == ()
    for roots in ((), (1, 1), (-1,)):
        with pytest.raises(ScenarioError, match="different client ids"):
            FLTrust(roots)


def naive_learning_rates(histories):
    """Algorithm 1 of FoolsGold, in plain loops."""
    n = len(histories)
    cosine = [[float(a @ b / (a.norm() * b.norm())) for b in histories] for a in histories]
    nearest = [max(cosine[i][j] for j in range(n) if j != i) for i in range(n)]
    for i in range(n):
        for j in range(n):
            if i != j and nearest[j] > nearest[i] and nearest[j] > 0:
                cosine[i][j] *= nearest[i] / nearest[j]
    rates = [min(1.0, max(0.0, 1 - max(cosine[i][j] for j in range(n) if j != i))) for i in range(n)]
    most = max(rates)
    rates = torch.tensor([rate / most for rate in rates], dtype=torch.float64)
    return (torch.log(rates / (1 - rates)) + 0.5).clamp(0, 1)


@given(updates=matrices)
@small
def test_fools_gold_is_its_algorithm(updates):
    alpha = naive_learning_rates(updates)
    result = run(FoolsGold(), updates)
    torch.testing.assert_close(FoolsGold().learning_rates(updates @ updates.T), alpha)
    torch.testing.assert_close(result.update, alpha @ updates / alpha.sum())
    assert result.selected.tolist() == (alpha > 0).tolist()


def test_fools_gold_judges_by_the_sum_of_all_rounds_by_client_id():
    first, second = gaussian(4, 6, seed=1), gaussian(4, 6, seed=2)
    memory = run(FoolsGold(), first).memory
    assert sorted(memory) == ["0", "1", "2", "3"]
    # In the second round other clients come, two of them again, in another order.
    clients = context(4, 0).clients.copy()
    clients[:] = [3, 7, 0, 9]
    result = run(FoolsGold(), second, memory=memory, clients=clients)
    histories = torch.stack([first[3] + second[0], second[1], first[0] + second[2], second[3]])
    torch.testing.assert_close(FoolsGold().learning_rates(histories @ histories.T) > 0, result.selected)
    alpha = naive_learning_rates(histories)
    torch.testing.assert_close(result.update, alpha @ second / alpha.sum())
    assert torch.equal(result.memory["3"], histories[0]) and torch.equal(result.memory["1"], first[1])
    assert torch.equal(memory["3"], first[3])  # what it was given is left alone
    assert sorted(result.memory) == ["0", "1", "2", "3", "7", "9"]


def test_fools_gold_rejects_sybils_and_what_is_all_alike():
    updates = torch.randn(12, 400, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    updates[:4] = updates[0]
    result = run(FoolsGold(), updates, 4)
    assert not result.selected[:4].any() and result.selected[4:].all()
    same = run(FoolsGold(), updates[:4], 4)
    assert not same.update.any() and not same.selected.any()
    alone = run(FoolsGold(), updates[:1], 1)
    assert torch.equal(alone.update, updates[0]) and alone.record["broken"] == 1
    updates[5], updates[6] = 0, torch.inf
    lost = run(FoolsGold(), updates, 4)
    assert lost.update.isfinite().all() and not lost.selected[5:7].any() and not {"5", "6"} & set(lost.memory)
    with pytest.raises(ScenarioError, match="no row is a client's"):
        run(Composed((Bucketing(2),), FoolsGold()), gaussian(6, 3))
    with pytest.raises(ScenarioError):
        FoolsGold(confidence=0.0)


def test_crfl_clips_the_model_and_adds_noise():
    updates = gaussian(9, 20_000)
    portion = torch.randn(20_000, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    model = portion + updates.median(0).values
    rule = CRFL(bound=20.0, growth=0.5, noise=0.0, rule=Median())
    result = run(rule, updates, portion=portion)
    torch.testing.assert_close(portion + result.update, model * 20.5 / model.norm())
    assert result.record["bound"] == 20.5 and result.record["model_norm"] == pytest.approx(float(model.norm()))
    loose = run(CRFL(bound=1e6, noise=0.0, rule=Median()), updates, portion=portion)
    torch.testing.assert_close(portion + loose.update, model)
    noisy = run(CRFL(bound=1e6, noise=0.2, rule=Median()), updates, portion=portion)
    assert float((noisy.update - loose.update).std()) == pytest.approx(0.2, rel=0.03)
    chosen = run(CRFL(bound=1.0, rule=Krum()), updates, 1, portion=portion)
    assert chosen.selected.sum() == 1 and chosen.record["f"] == 1
    with pytest.raises(ScenarioError, match="global portion"):
        run(rule, updates)
    for make in (lambda: CRFL(0.0), lambda: CRFL(1.0, growth=-1.0), lambda: CRFL(1.0, noise=-1.0)):
        with pytest.raises(ScenarioError):
            make()


def test_centred_clipping_goes_on_from_the_round_before():
    first, second = gaussian(9, 6, seed=1), gaussian(9, 6, seed=2)
    rule = CentredClipping(1.5, 3, "previous")
    before = run(rule, first)
    torch.testing.assert_close(before.update, run(CentredClipping(1.5, 3, "zero"), first).update)
    v = before.update.clone()
    for _ in range(3):
        difference = second - v
        v = v + (difference * (1.5 / difference.norm(dim=1)).clamp_max(1)[:, None]).mean(0)
    after = run(rule, second, memory=before.memory)
    torch.testing.assert_close(after.update, v)
    assert torch.equal(after.memory["previous"], after.update)
