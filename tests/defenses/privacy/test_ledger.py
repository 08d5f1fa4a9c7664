"""What a run has spent: its privacy table, its budget, and what the accountant is told of sampling."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from raysplit import run as raysplit_run
from raysplit.analysis.report.record import run_section
from raysplit.defenses.privacy.accountant import epsilon
from raysplit.defenses.privacy.ledger import Ledger
from raysplit.defenses.privacy.per_example_clipping import PerExampleClipping
from raysplit.population.selection.cohort import Cohort
from raysplit.protocols.batching import Batching
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.protocol import TrainingProtocol
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.scenario.scenario import Scenario
from raysplit.simulation.simulation import RoundReport
from tests.toys import play, toy

LOUD = PerExampleClipping(1.0, 8.0)


def poisson(protocol: TrainingProtocol, rate: float = 0.25, **changes: object) -> Scenario:
    privacy = PerExampleClipping(1.0, 8.0, expected_batch=3)
    return toy(protocol, training__batch_size=None, training__poisson_rate=rate, **{"privacy": privacy, **changes})


def test_each_client_has_spent_the_epochs_of_the_rounds_in_which_it_trained() -> None:
    """Shuffled batches: one application an epoch, at rate 1, whatever its batches; a sample of a client that was not
    drawn has spent nothing."""
    scenario = toy(FedAvg(), cohort=Cohort(3), training__rounds=3, training__local_epochs=2, privacy=LOUD)
    rows = play(scenario).tables["privacy"].to_pylist()
    trained: dict[int, int] = {}
    assert len(rows) == 9
    for row in rows:
        trained[row["client"]] = trained.get(row["client"], 0) + 1
        assert row["applications"] == 2 * trained[row["client"]]
        assert row["epsilon"] == epsilon(1.0, 8.0, row["applications"], 1e-5).epsilon
        assert (row["sampling"], row["unit"], row["delta"]) == ("shuffled", "sample", 1e-5)
    assert len(set(trained.values())) > 1  # some were drawn more often than others


def test_a_server_portion_that_is_clipped_too_costs_a_factor_of_root_two() -> None:
    (row, *_) = play(toy(SplitFedV1(), privacy=LOUD)).tables["privacy"].to_pylist()
    assert row["epsilon"] == epsilon(1.0, 8.0 / 2**0.5, 1, 1e-5).epsilon
    assert "server portion" in row["covers"]


def test_an_open_server_portion_leaves_no_epsilon_but_what_the_noise_alone_would_give() -> None:
    privacy = PerExampleClipping(1.0, 8.0, server_portion="open", guarantee=False)
    (row, *_) = play(toy(SplitFedV2(), privacy=privacy)).tables["privacy"].to_pylist()
    assert row["epsilon"] is None
    assert row["nominal_epsilon"] == epsilon(1.0, 8.0, 1, 1e-5).epsilon


def test_noise_for_every_sample_counts_by_the_smallest_batch() -> None:
    """Of 9 samples in batches of 4 one is alone in its batch."""
    privacy = PerExampleClipping(1.0, 2.0, form="thapa2022")
    assert Ledger(privacy, Batching(4), False).multiplier(9) == 2.0
    assert Ledger(privacy, Batching(4, "drop"), False).multiplier(9) == 4.0


@pytest.mark.parametrize("protocol", [FedAvg(), SplitFedV1(), SplitFedV2(), SplitFedV2(u_shaped=True)])
def test_poisson_batches_are_counted_step_by_step_and_may_be_empty(protocol: TrainingProtocol) -> None:
    """At this rate a client of three samples has an empty batch three times in ten or more; it takes its step all the
    same, on noise alone."""
    tail = "fc1" if protocol.u_shaped else None
    played = play(poisson(protocol, tail=tail))
    assert not played.diverged
    clients = played.tables["clients"].to_pylist()
    assert {row["steps"] for row in clients} == {4}
    assert all(np.isfinite(row["train_loss"]) for row in clients)
    multiplier = 8.0 if protocol.server == "none" else 8.0 / 2**0.5
    for row in played.tables["privacy"].to_pylist():
        assert row["applications"] == 4 * row["round"]
        assert row["epsilon"] == epsilon(0.25, multiplier, row["applications"], 1e-5).epsilon
        assert (row["sampling"], row["neighbours"]) == ("poisson", "one sample more or less")


def test_poisson_batches_hold_each_sample_with_their_rate() -> None:
    batching = Batching(None, rate=0.2)
    drawn = [batching.indices(1, 1, 1, step, 1000) for step in range(40)]
    share = np.concatenate(drawn).size / 40_000
    assert abs(share - 0.2) < 3 * (0.16 / 40_000) ** 0.5
    assert batching.steps(1000) == batching.steps(3) == 5
    assert len({len(some) for some in drawn}) > 1


def test_a_plain_step_on_an_empty_batch_moves_nothing() -> None:
    """Poisson batches without clipping: as if the batch had not been."""
    scenario = poisson(SplitFedV2(), rate=0.02, privacy=None, training__rounds=1, clients=1)
    played = play(scenario)
    drawn = [scenario.training.batching.indices(42, 1, 0, step, 3) for step in range(50)]
    assert sum(len(some) for some in drawn) <= 6
    assert not played.diverged and all(tensor.isfinite().all() for tensor in played.named.values())


def test_a_run_ends_before_the_round_that_would_exceed_its_budget_and_can_be_resumed(tmp_path: Path) -> None:
    two_rounds, three_rounds = (epsilon(1.0, 8.0, rounds, 1e-5).epsilon for rounds in (2, 3))
    privacy = PerExampleClipping(1.0, 8.0, budget=(two_rounds + three_rounds) / 2)
    scenario = toy(FedAvg(), training__rounds=5, privacy=privacy)
    run = raysplit_run(scenario, out=tmp_path)
    assert run.state.status == "finished"
    assert run.state.rounds == 2 and run.rounds.num_rows == 2
    assert "budget of ε" in run.state.record["stopped"] and "after round 2" in run.state.record["stopped"]
    assert max(run.privacy.column("epsilon").to_pylist()) == two_rounds
    assert raysplit_run(scenario, out=tmp_path).state.rounds == 2  # there is nothing left to do


def test_a_resumed_run_goes_on_counting(tmp_path: Path) -> None:
    scenario = toy(SplitFedV1(), training__rounds=4, cohort=Cohort(3), privacy=LOUD)
    whole = play(scenario)
    half = play(scenario.replace(**{"training.rounds": 2}))
    rest = play(scenario, start=half.state)
    assert rest.digest == whole.digest
    assert rest.tables["privacy"].to_pylist() == whole.tables["privacy"].to_pylist()[6:]


def test_whoever_watches_is_told_of_what_it_is_an_epsilon() -> None:
    said: list[RoundReport] = []
    play(toy(SplitFedV1(), privacy=LOUD), watch=said.append)
    words = said[-1].privacy.words if said[-1].privacy is not None else ""
    for part in ("δ 1e-05", "sample", "shuffled", "server portion", "fed server", "not smashed data"):
        assert part in words
    assert f"{epsilon(1.0, 8.0 / 2**0.5, 2, 1e-5).epsilon:.3g}" in words


def test_sums_of_a_batch_are_the_same_bits_however_many_hosts_play() -> None:
    """Noise is named by seed, round, client and step; the same run twice, and in other groups of clients."""
    scenario = toy(SplitFedV1(), privacy=LOUD, training__rounds=1)
    one, other = play(scenario), play(scenario)
    assert one.digest == other.digest
    regrouped = play(scenario.replace(groups=2))
    assert all(torch.allclose(one.named[name], regrouped.named[name], atol=1e-6) for name in one.named)


def test_the_report_says_of_what_it_is_an_epsilon(tmp_path: Path) -> None:
    run = raysplit_run(toy(SplitFedV1(), privacy=LOUD), out=tmp_path)
    page = run_section(run, "run")
    for part in ("<h3>Privacy</h3>", "1e-05", "shuffled", "server portion", "Not covered", "smashed data"):
        assert part in page
    assert f"{epsilon(1.0, 8.0 / 2**0.5, 2, 1e-5).epsilon:.3g}" in page
    assert "<h3>Privacy</h3>" not in run_section(raysplit_run(toy(SplitFedV1(), name="plain"), out=tmp_path), "run")
