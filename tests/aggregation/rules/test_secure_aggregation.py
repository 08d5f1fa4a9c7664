"""Secure aggregation: the sum exactly, nothing of one update, and who is refused what."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from raysplit import run as raysplit_run
from raysplit.aggregation.masking import Ring, Secrets, mask, open_sum
from raysplit.aggregation.rule import RoundContext, plain_context
from raysplit.aggregation.rules.secure_aggregation import SecureAggregation
from raysplit.analysis.inference.replay import observe_updates
from raysplit.costs.traffic import client_bytes, predicted_bytes
from raysplit.defenses.privacy.per_example_clipping import PerExampleClipping
from raysplit.errors import ScenarioError
from raysplit.population.selection.cohort import Cohort, ParticipationSampler
from raysplit.population.selection.dropouts import Dropouts
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.protocol import TrainingProtocol
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.simulation.planning import make_plan
from raysplit.storage.run_folder import RunFolder
from tests.toys import distance, play, toy


def updates(n: int, d: int = 40, scale: float = 1.0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(n)) * scale


def context(n: int, lost: tuple[int, ...] = (), counts: list[int] | None = None) -> RoundContext:
    """Of clients 10, 11, …"""
    plain = plain_context(SecureAggregation(), n, 3, 7)
    counted = None if counts is None else np.array(counts)
    return replace(plain, clients=np.arange(n) + 10, lost=np.array(lost, dtype=np.int64), counts=counted)


@pytest.mark.parametrize("lost", [(), (3, 40), (12_000,)])
@pytest.mark.parametrize("bits", [8, 31, 62])
def test_masks_cancel_to_the_last_bit_whoever_has_dropped_out(lost: tuple[int, ...], bits: int) -> None:
    ring, reporting = Ring(bits, 2), [5, 9, 2, 30]
    secrets = Secrets(77, 4, ring)
    draw = torch.Generator().manual_seed(bits)
    rows = ring.wrapped(torch.randint(-(2 ** (bits - 1)), 2 ** (bits - 1), (4, 100), generator=draw))
    masked = mask(rows, reporting, lost, secrets)
    assert torch.equal(open_sum(masked, reporting, lost, secrets), ring.wrapped(rows.sum(0)))
    assert not torch.equal(masked, rows) and int(masked.min()) >= 0 and int(masked.max()) < 2**bits


def test_the_aggregate_is_the_weighted_mean_of_rounded_updates_exactly() -> None:
    """In fractions: each client's numbers times its samples, to the nearest 2^−16, over all samples."""
    rows, counts = updates(5), [3, 10, 1, 7, 4]
    found = SecureAggregation().aggregate(rows.double(), torch.empty(0), context(5, counts=counts)).update
    for column in range(rows.shape[1]):
        scaled = [float(rows[i, column]) * counts[i] * 2**16 for i in range(5)]
        exact = Fraction(sum(round(value) for value in scaled), 2**16 * sum(counts))
        assert float(found[column]) == pytest.approx(float(exact), rel=1e-15, abs=1e-18)
    mean = (rows.double() * torch.tensor(counts)[:, None]).sum(0) / sum(counts)
    assert float((found - mean).abs().max()) <= 0.5 * 2**-16 * 5 / sum(counts)


def test_what_a_client_drops_out_with_is_in_no_sum() -> None:
    rows = updates(6)
    whole = SecureAggregation().aggregate(rows, torch.empty(0), context(6)).update
    without = SecureAggregation().aggregate(rows, torch.empty(0), context(6, lost=(1, 99))).update
    assert torch.equal(whole, without)


def test_too_few_left_open_nothing() -> None:
    """Of six that took part four must be there; three leave the portion as it is and say so."""
    rule = SecureAggregation()
    four = rule.aggregate(updates(4), torch.empty(0), context(4, lost=(1, 2)))
    assert "broken" not in four.record and four.update.any()
    three = rule.aggregate(updates(3), torch.empty(0), context(3, lost=(1, 2, 3)))
    assert three.record["broken"] == 1.0 and not three.update.any()


def test_numbers_too_large_for_the_sum_are_cut_off_and_counted() -> None:
    rule, rows = SecureAggregation(bits=16, fraction_bits=8), updates(4)
    limit = Ring(16, 8).largest(4) / 2**8
    rows[1, :3] = torch.tensor([1e9, float("nan"), -float("inf")])
    given = rule.aggregate(rows, torch.empty(0), context(4))
    cut = rows.clone()
    cut[1, :3] = torch.tensor([limit, 0.0, -limit])
    assert given.record["saturated"] == 3
    assert float((given.update - cut.mean(0)).abs().max()) <= 2**-8


def test_what_was_cut_off_stands_in_the_table_and_too_many_samples_for_the_ring_are_refused() -> None:
    (row, *_) = play(toy(FedAvg(), defense=SecureAggregation(17, 15))).tables["aggregation"].to_pylist()
    assert row["saturated"] > 0
    with pytest.raises(ScenarioError, match="give more bits"):
        SecureAggregation(8, 2).aggregate(updates(2), torch.empty(0), context(2, counts=[200, 100]))


def test_the_fed_server_receives_numbers_that_are_uniform_whatever_they_hide() -> None:
    """Of 40,000 numbers of one client: every share of the ring within 3 standard errors, and no correlation."""
    rule, rows = SecureAggregation(bits=24, fraction_bits=16), updates(3, 40_000)
    seen = rule.received(rows, context(3))[0]
    shares = torch.histc((seen * 2**16 + 2**23) / 2**24, bins=16, min=0, max=1) / len(seen)
    assert float((shares - 1 / 16).abs().max()) < 3.5 * (15 / 256 / len(seen)) ** 0.5
    assert abs(float(torch.corrcoef(torch.stack([seen, rows[0]]))[0, 1])) < 3 / len(seen) ** 0.5


def test_without_its_own_mask_a_late_update_would_be_open() -> None:
    """The fed server says that client 10 has dropped out and learns its pairs' seeds; then its update comes. What stands
    between it and the server is the client's own mask."""
    ring = Ring(32, 16)
    secrets, reporting = Secrets(5, 1, ring), [10, 11, 12]
    rows = ring.encode(updates(3), 3)[0]
    masked = mask(rows, reporting, (), secrets)
    pairs = sum(secrets.of_pair(10, other, rows.shape[1]) for other in (11, 12))
    assert not torch.equal(ring.wrapped(masked[0] - pairs), rows[0])
    assert torch.equal(ring.wrapped(masked[0] - pairs - secrets.of_client(10, rows.shape[1])), rows[0])


@pytest.mark.parametrize("protocol", [FedAvg(), SplitFedV2()])
def test_training_is_that_of_the_mean_up_to_rounding(protocol: TrainingProtocol) -> None:
    lossy = Cohort(6, dropouts=Dropouts(0.3, when="after"))
    changes = {"cohort": lossy, "training__precision": "float64"}
    fine = SecureAggregation(bits=60, fraction_bits=44)
    assert distance(play(toy(protocol, defense=fine, **changes)).named, play(toy(protocol, **changes)).named) < 1e-11


def test_clients_weigh_alike_where_privacy_or_the_rule_says_so() -> None:
    alike = play(toy(FedAvg(), defense=SecureAggregation(weights="equal"), training__precision="float64"))
    weighed = play(toy(FedAvg(), defense=SecureAggregation(), training__precision="float64"))
    assert distance(alike.named, weighed.named) > 1e-3
    quiet = PerExampleClipping(1e6, 0.0, guarantee=False)
    changes = {"privacy": quiet, "training__precision": "float64"}
    private = play(toy(FedAvg(), defense=SecureAggregation(), **changes))
    assert distance(private.named, play(toy(FedAvg(), **changes)).named) < 1e-4


@pytest.mark.parametrize("protocol", [FedAvg(), SplitFedV1()])
def test_bytes_of_masked_updates_are_counted_as_foreseen(protocol: TrainingProtocol) -> None:
    """Keys, shares, and numbers of 40 bits in place of 32."""
    scenario = toy(protocol, defense=SecureAggregation(bits=40), training__rounds=1)
    population = scenario.population.open()
    plan = make_plan(scenario, population, 1, ParticipationSampler(scenario.cohort, 42, population).of(1))
    foreseen, played = predicted_bytes(scenario, plan), play(scenario)
    for channel, expected in foreseen.items():
        assert played.bytes_on()[channel.value] == expected.tensors
    floats = played.layout.client.parameters
    up = 6 * (2 * 32 + 5 * 80 + (floats + 1) * 5 + 6 * 32)
    assert played.bytes_on()["updates"] == up
    assert played.bytes_on()["weights"] == 6 * (4 * floats + 5 * (64 + 80) + 1)
    assert sum(one.up for one in client_bytes(scenario, plan)) >= up


def test_an_attack_on_updates_gets_noise(tmp_path: Path) -> None:
    """What the fed server received in a round, played again: nothing of the updates is in it."""
    secure = toy(FedAvg(), defense=SecureAggregation(), training__rounds=1)
    masked = observe_updates(RunFolder(raysplit_run(secure, out=tmp_path).path), secure, 1).recorded.updates
    plain = toy(FedAvg(), training__rounds=1)
    open_ones = observe_updates(RunFolder(raysplit_run(plain, out=tmp_path).path), plain, 1).recorded.updates
    for row in range(len(masked)):
        pair = torch.stack([masked[row], open_ones[row]]).double()
        assert abs(float(torch.corrcoef(pair)[0, 1])) < 4 / masked.shape[1] ** 0.5
    assert float(masked.abs().mean()) > 1e3 > float(open_ones.abs().max())
