"""Sound mechanisms stay below the ε that they claim; broken ones are found out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from raysplit.analysis.audit.audit import Audit, audit
from raysplit.analysis.audit.canaries import Canaries, InsertedSum
from raysplit.analysis.audit.files import write_audit
from raysplit.analysis.audit.setup import Setup
from raysplit.defenses.privacy.noisy_sum import NoisySum
from raysplit.defenses.privacy.per_example_clipping import PerExampleClipping
from raysplit.errors import ScenarioError
from raysplit.protocols.batching import Batching
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.protocol import TrainingProtocol
from raysplit.protocols.split_learning import SplitLearning
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.scenario.scenario import Scenario
from raysplit.training.optimizers import Sgd
from tests.analysis.audit.broken import DividedByTheBatch, FloatClients, MeetingSamples, NoiseBeforeClipping
from tests.toys import toy


def private(protocol: TrainingProtocol, z: float, clients: int = 30, **changes: object) -> Scenario:
    privacy = PerExampleClipping(1.0, z, expected_batch=4)
    changes = {"privacy": privacy, "training__rounds": 1, "training__optimizer": Sgd(), **changes}
    return toy(protocol, clients=clients, **changes)


POISSON = {"training__batch_size": None, "training__poisson_rate": 0.98}


def narrow(found: Audit) -> str:
    return f"claimed {found.claimed:.3f}, shown {found.best}, expected {found.expected:.3f}"


@pytest.mark.parametrize(
    ("protocol", "changes"),
    [
        (FedAvg(), POISSON),
        (SplitFedV2(), {}),
        (SplitFedV1(u_shaped=True), {}),
    ],
    ids=["poisson", "sflv2", "u-shaped"],
)
def test_a_sound_mechanism_stays_below_what_it_claims_and_is_seen(
    protocol: TrainingProtocol, changes: dict[str, object]
) -> None:
    """ε of 4 to 7; canaries show more than 0.5 of it, else silence would mean nothing."""
    tail = {"tail": "fc1"} if protocol.u_shaped else {}
    found = audit(private(protocol, 1.0, **tail, **changes), Setup(canaries=16))
    assert not found.refuted, narrow(found)
    assert 0.5 < found.best.epsilon < found.claimed, narrow(found)
    assert found.claimed < found.possible + 3


def test_noise_before_clipping_is_found_out() -> None:
    """It protects no large gradient at all, whatever the accountant says of it: every guess is right."""
    scenario = private(FedAvg(), 4.0, clients=10)
    found = audit(scenario, Setup(canaries=32), NoiseBeforeClipping)
    assert found.refuted and found.best.epsilon > 3 * found.claimed, narrow(found)
    assert not audit(scenario, Setup(canaries=32)).refuted


def test_a_divisor_of_the_batch_is_found_out() -> None:
    """The amount of noise tells who is there."""
    few = {"model": MeetingSamples(False), "population": FloatClients(100, 2)}
    scenario = private(FedAvg(), 4.0, clients=100, **few, **POISSON)
    found = audit(scenario, Setup(canaries=1), DividedByTheBatch)
    assert found.refuted and found.best.score == "small update", narrow(found)
    assert not audit(scenario, Setup(canaries=1)).refuted


@pytest.mark.parametrize("meet", [True, False])
def test_batch_norm_left_in_is_found_out(meet: bool) -> None:
    """Of the real mechanism, with a layer that no check knows: an outlier changes the gradients of all samples."""
    privacy = PerExampleClipping(0.01, 4.0, expected_batch=4)
    samples = {"model": MeetingSamples(meet), "population": FloatClients(80, 40), "privacy": privacy}
    scenario = private(FedAvg(), 4.0, clients=80, **samples, **POISSON)
    found = audit(scenario, Setup(kind="sample"))
    assert found.refuted is meet, narrow(found)


def test_without_any_noise_canaries_are_seen() -> None:
    off = PerExampleClipping(1.0, 0.0, guarantee=False)
    found = audit(private(SplitFedV1(), 1.0, privacy=off), Setup(canaries=8, kind="random"))
    assert found.claimed == np.inf and not found.refuted
    assert found.best.epsilon > 2.5 and found.best.correct > 0.95 * found.best.made


def test_what_is_inserted_is_clipped_like_a_sample() -> None:
    """A batch of canaries alone: each comes out as its direction times the norm, over the divisor."""
    canaries = Canaries(1, 6, "dirac", 1e3, Batching(4), lambda client: 4)
    parameters = [torch.zeros(3, 4), torch.zeros(5)]
    real = NoisySum(0.5, 0.0, "abadi", "flat", 10, "privacy_noise")
    moved = InsertedSum(real, canaries, "client").of(None, parameters, ["a", "b"], 0, (1, 1, 3, 0))
    there = canaries.direction(3, "client", 17).positions[canaries.coins(3)].flatten()
    expected = torch.zeros(17)
    expected[there] = 0.5 / 10
    assert torch.allclose(torch.cat([g.flatten() for g in moved]), expected, rtol=1e-6)
    assert 0 < len(there) < 6


def test_shuffled_canaries_are_in_one_batch_an_epoch_and_poisson_ones_in_a_share() -> None:
    shuffled = Canaries(1, 50, "dirac", 1.0, Batching(4), lambda client: 10)  # three batches an epoch
    assert [len(shuffled.batch((0, 1, 2, step))) > 0 for step in range(6)] == [True, False, False] * 2
    poisson = Canaries(1, 2000, "dirac", 1.0, Batching(None, rate=0.25), lambda client: 10)
    share = np.mean([len(poisson.batch((0, 1, 2, step))) for step in range(4)]) / poisson.coins(2).sum()
    assert abs(share - 0.25) < 0.03


def test_an_audit_leaves_the_run_as_it_is() -> None:
    """Its coins come from its own seed: the same audit gives the same bits, another seed other coins."""
    scenario = private(FedAvg(), 1.0, clients=6)
    one, again, other = (audit(scenario, Setup(canaries=8, seed=seed)).found for seed in (0, 0, 1))
    assert one == again != other


@pytest.mark.parametrize(
    ("scenario", "setup", "sentence"),
    [
        (toy(FedAvg()), Setup(), "no privacy=PerExampleClipping"),
        (private(SplitLearning(), 1.0, clients=4), Setup(), "SplitLearning sends it nothing"),
        (private(FedAvg(), 1.0, clients=4), Setup(kind="sample"), "use --kind dirac"),
        (private(FedAvg(), 1.0, clients=4), Setup(canaries=1000), "a parameter of its own"),
    ],
)
def test_what_cannot_be_audited_is_refused_with_a_sentence(scenario: Scenario, setup: Setup, sentence: str) -> None:
    with pytest.raises(ScenarioError, match=sentence.replace("(", r"\(")):
        audit(scenario, setup)


def test_what_is_written_says_of_each_number_what_it_is_of(tmp_path: Path) -> None:
    found = audit(private(FedAvg(), 1.0, clients=6), Setup(canaries=8))
    table, text = write_audit(found, tmp_path)
    rows = pa.ipc.open_stream(table.read_bytes()).read_all()
    record = json.loads(text.read_text())
    assert max(rows.column("epsilon_lower").to_pylist()) == record["epsilon_lower"] == found.best.epsilon
    assert set(rows.column("epsilon_claimed").to_pylist()) == {record["epsilon_claimed"]} == {found.claimed}
    assert (record["delta"], record["confidence"], record["unit"]) == (1e-5, 0.95, "sample")
    assert all(field.metadata[b"unit"] for field in rows.schema)
