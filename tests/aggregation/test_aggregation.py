"""A task, its poisoning and its aggregation, by hand on small matrices; the same in shards is in ``sharding/``."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
import torch

from raysplit import Adam, FLTrust, GaussianNoise, Mean, Median, Sgd, SignFlip, TrimmedMean
from raysplit.aggregation.columns import Whole
from raysplit.aggregation.fed_server import aggregate, average_portions
from raysplit.aggregation.poisoning import poison
from raysplit.aggregation.rule import RoundContext
from raysplit.aggregation.server_optimizer import ServerOptimizer
from raysplit.aggregation.task import AggregationTask
from raysplit.aggregation.update_attack import Poison, UpdateAttack, updates_threat
from raysplit.channels.channel import Channel, ThreatModel
from raysplit.parts.part import part
from raysplit.population.selection.cohort import Cohort
from raysplit.protocols.fedavg import FedAvg
from tests.toys import play, toy

N, D, B = 7, 40, 3
MALICIOUS = [2, 5]
MEDIAN = Median()


def task(rule=MEDIAN, attack=None, malicious=MALICIOUS, **context):
    marked = torch.zeros(N, dtype=torch.bool)
    marked[malicious] = True
    weights = torch.arange(1.0, N + 1) / sum(range(1, N + 1))
    portion = torch.linspace(-1, 1, D + B)
    known = RoundContext(3, np.arange(10, 10 + N), 2, len(malicious), np.random.default_rng(5), **context)
    return AggregationTask(Channel.UPDATES, rule, attack, weights, marked, known, tuple(range(N)), portion, D)


def updates():
    return torch.randn(N, D + B, generator=torch.Generator().manual_seed(1))


def test_malicious_rows_alone_are_replaced_and_buffers_are_averaged_as_they_came():
    honest, poisoned_rows = updates(), updates()
    poisoned = poison(task(attack=SignFlip(2.0)), poisoned_rows)
    benign = [row for row in range(N) if row not in MALICIOUS]
    assert poisoned_rows[benign].equal(honest[benign])
    assert poisoned_rows[MALICIOUS, :D].equal(-2 * honest[MALICIOUS, :D])
    assert poisoned_rows[:, D:].equal(honest[:, D:])
    assert torch.allclose(poisoned.buffers, task().weights @ honest[:, D:])
    assert poisoned.attack is not None
    assert (poisoned.attack["attack"], poisoned.attack["m"], poisoned.attack["channel"]) == ("SignFlip", 2, "updates")


def test_without_an_attack_no_row_changes():
    rows = updates()
    assert poison(task(), rows).attack is None and rows.equal(updates())


def test_the_same_task_poisons_and_aggregates_alike_again():
    """A round that lost an actor is played again with the same task."""
    again = task(TrimmedMean(), GaussianNoise(1.0))
    made = []
    for _ in range(2):
        rows = updates()
        poisoned = poison(again, rows)
        made.append((rows, aggregate(again, Whole(rows[:, :D]), poisoned).portion))
    assert made[0][0].equal(made[1][0]) and made[0][1].equal(made[1][1])
    assert not made[0][0].equal(updates())


def test_the_rule_draws_behind_the_attacks_seed_and_the_task_keeps_its_stream():
    stream = np.random.default_rng(5)
    seed, second = int(stream.integers(1 << 62)), stream.random()
    attacked = task(attack=SignFlip())
    assert attacked.attack_seed == seed == attacked.attack_seed
    assert attacked.rule_context().rng.random() == second == attacked.rule_context().rng.random()
    assert task().rule_context().rng.random() == np.random.default_rng(5).random()


def test_the_aggregate_moves_the_portion_by_the_rule_and_the_mean_of_buffers():
    rows = updates()
    result = aggregate(task(), Whole(rows[:, :D]), poison(task(), rows))
    expected = task().portion + torch.cat([rows[:, :D].median(0).values, task().weights @ rows[:, D:]])
    assert torch.allclose(result.portion, expected)
    assert result.update_norms == pytest.approx(rows[:, :D].norm(dim=1).numpy(), rel=1e-6)
    row = result.aggregation
    assert (row["round"], row["rule"], row["n"], row["d"], row["assumed"], row["actual"]) == (
        3,
        "Median",
        N,
        D + B,
        2,
        2,
    )
    benign = rows[[row for row in range(N) if row not in MALICIOUS], :D].mean(0)
    assert row["bias"] == pytest.approx(float((rows[:, :D].median(0).values - benign).norm()), rel=1e-5)


def test_the_table_says_how_many_malicious_rows_a_selecting_rule_took():
    rows = updates()
    reference = rows[2, :D].clone()
    trusting = task(FLTrust((0,)), reference=reference)
    row = aggregate(trusting, Whole(rows[:, :D]), poison(trusting, rows)).aggregation
    selected = rows[:, :D] @ reference > 0
    assert 0 < row["selected_malicious"] == int(selected[MALICIOUS].sum()) < int(selected.sum())
    assert row["rejected_share"] == pytest.approx(1 - float(selected.double().mean())) and row["trim"] is None


def test_the_table_counts_the_rows_that_are_not_finite_whoever_sent_them():
    rows = updates()
    rows[2], rows[4, 3], rows[5, 0] = float("nan"), float("nan"), float("inf")
    applied = task()
    row = aggregate(applied, Whole(rows[:, :D]), poison(applied, rows)).aggregation
    assert row["non_finite"] == 3
    assert aggregate(applied, Whole(updates()[:, :D]), poison(applied, updates())).aggregation["non_finite"] == 0
    played = play(toy(FedAvg(), defense=Median(), cohort=Cohort(6, 0.2, "cohort"), attack=Nan()))
    assert played.tables["aggregation"]["non_finite"].to_pylist() == [1, 1] and not played.diverged
    clients = [row for row in played.tables["clients"].to_pylist() if not np.isfinite(row["update_norm"])]
    assert [row["malicious"] for row in clients] == [True, True]
    assert play(toy(FedAvg())).tables["aggregation"]["non_finite"].to_pylist() == [None, None]


@part
class Nan(UpdateAttack):
    threat_model: ClassVar[ThreatModel] = updates_threat("partial")

    def poison(self, view):
        return Poison(torch.full_like(view.own, float("nan")))


def test_no_bias_is_recorded_where_everybody_is_malicious():
    rows = updates()
    everybody = task(malicious=list(range(N)))
    assert "bias" not in aggregate(everybody, Whole(rows[:, :D]), poison(everybody, rows)).aggregation


def test_a_single_group_of_one_client_is_that_client_bit_for_bit():
    portion = torch.randn(D + B)
    kept = {"history": torch.ones(2)}
    result = average_portions(task(Mean(), memory=kept), {4: portion})
    assert result.portion.equal(portion) and result.memory == kept and result.update_norms is None


def test_partial_sums_are_added_in_the_order_of_group_numbers():
    first, second, third = torch.tensor([1e8]), torch.tensor([-1e8]), torch.tensor([1.0])
    result = average_portions(task(Mean()), {2: third, 0: first, 1: second})
    assert result.portion.equal((first + second) + third)


def test_without_an_optimizer_the_aggregate_is_the_next_portion():
    portion, aggregated = torch.zeros(D + B), torch.randn(D + B)
    assert ServerOptimizer().step(portion, aggregated, D, None) == (aggregated, {})


def test_the_server_optimizer_steps_with_gradient_portion_less_aggregate_and_takes_buffers():
    portion, aggregated = torch.randn(D + B), torch.randn(D + B)
    stepped, _ = ServerOptimizer(Sgd(), 0.5).step(portion, aggregated, D, None)
    assert torch.allclose(stepped[:D], (portion[:D] + aggregated[:D]) / 2, atol=1e-6)
    assert stepped[D:].equal(aggregated[D:])


def test_the_server_optimizer_leaves_the_state_before_as_it_is():
    portion, aggregated = torch.randn(D + B), torch.randn(D + B)
    _, first = ServerOptimizer(Adam(), 0.1).step(portion, aggregated, D, None)
    before = {name: tensor.clone() for name, tensor in first.items()}
    _, second = ServerOptimizer(Adam(), 0.1).step(portion, aggregated, D, first)
    assert first and all(first[name].equal(before[name]) for name in before)
    assert any(not second[name].equal(first[name]) for name in second)
