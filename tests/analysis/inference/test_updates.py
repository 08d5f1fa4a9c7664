"""Updates at the fed server: replay equals what was recorded, the truth is what clients trained on, and how
reconstructions without an order are scored."""

from __future__ import annotations

import pytest
import torch

import raysplit
from raysplit import (
    Adversary,
    Cohort,
    FedAvg,
    GradientInversion,
    LabelFlip,
    Sgd,
    SignFlip,
    SplitFedV1,
    SplitFedV2,
    SplitLearning,
)
from raysplit.analysis.inference.files import write_inference
from raysplit.analysis.inference.infer import infer_trained
from raysplit.analysis.inference.matching import best_matching, matched_by_update
from raysplit.analysis.inference.replay import observe_updates
from raysplit.analysis.inference.setup import Setup
from raysplit.analysis.runs.trained import Trained, read_trained
from raysplit.channels.channel import Channel
from raysplit.errors import RunError, ScenarioError
from raysplit.storage.run_folder import RunFolder
from tests.toys import toy

ATTACK = GradientInversion(steps=2, labels="joint")
PLAIN = {"training__optimizer": Sgd(), "training__batch_size": None}


def ran(scenario, tmp_path) -> Trained:
    run = raysplit.run(scenario, engine="local", out=tmp_path)
    return read_trained(run.path, scenario)


@pytest.mark.parametrize("protocol", [FedAvg(), SplitFedV1()])
def test_a_replayed_update_is_the_recorded_one(protocol, tmp_path):
    changes = {"training__rounds": 4, "checkpoint_every": 2}
    recorded = ran(toy(protocol, **changes, record_updates_every=4), tmp_path)
    plain = ran(toy(protocol, **changes), tmp_path)
    there = observe_updates(RunFolder(recorded.path), recorded.scenario, 4)
    again = observe_updates(RunFolder(plain.path), plain.scenario, 4)
    assert (recorded.path / "updates").exists() and not (plain.path / "updates").exists()
    assert there.recorded.updates.equal(again.recorded.updates) and len(again.recorded.updates) == 6
    assert there.before.client.equal(again.before.client) and there.before.round == 3
    assert (there.recorded.clients == again.recorded.clients).all()
    assert again.recorded.channel is Channel.UPDATES and again.recorded.updates.shape[1] < len(again.before.client) + 1


def test_clients_are_attacked_whole_as_far_as_the_samples_go(tmp_path):
    trained = ran(toy(FedAvg(), **PLAIN), tmp_path)  # clients of 3, 10, 6, 13, 9 and 5 samples
    found = infer_trained(trained, ATTACK, None, Setup(round=1, samples=15))
    sizes = {int(c): int((found.victims.clients == c).sum()) for c in found.victims.clients.unique()}
    population = trained.scenario.population.open()
    assert sum(sizes.values()) <= 15 and len(sizes) > 1
    for client, size in sizes.items():
        x, y = population.train(client)
        rows = found.victims.clients == client
        assert size == len(y) and found.victims.y[rows].equal(y)
        assert torch.allclose(found.victims.x[rows], x.float() / 255)
    assert len(found.victims.messages[Channel.UPDATES]) == len(sizes)
    one = infer_trained(trained, ATTACK, None, Setup(round=1, samples=15, client=0))
    assert set(one.victims.clients.tolist()) == {0}
    with pytest.raises(RunError, match="the smallest client of round 1 has 3, but 2 are attacked; use --samples 3"):
        infer_trained(trained, ATTACK, None, Setup(round=1, samples=2))


@pytest.mark.parametrize("attack", [LabelFlip(), SignFlip()])
def test_poisoned_clients_are_no_victims(attack, tmp_path):
    scenario = toy(FedAvg(), cohort=Cohort(6, malicious=0.5), attack=attack, **PLAIN)
    trained = ran(scenario, tmp_path)
    seen = observe_updates(RunFolder(trained.path), scenario, 2)
    found = infer_trained(trained, ATTACK, None, Setup(round=2, samples=1000))
    assert len(seen.malicious) == 3
    assert set(found.victims.clients.tolist()) == set(range(6)) - seen.malicious


def test_matching_takes_every_reconstruction_once_and_undoes_any_order():
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(7, 1, 4, 4, generator=generator)
    order = torch.randperm(7, generator=generator)
    noisy = (truth + 0.01 * torch.randn(truth.shape, generator=generator))[order]
    found = best_matching(noisy, truth)
    assert order[found].equal(torch.arange(7))
    updates = torch.tensor([0, 0, 0, 1, 1, 1, 1])
    within = matched_by_update(truth.flip(0), truth, updates)
    assert sorted(within[:3].tolist()) == [0, 1, 2] and sorted(within[3:].tolist()) == [3, 4, 5, 6]


def test_what_is_scored_is_matched_and_named_so(tmp_path):
    trained = ran(toy(FedAvg(), **PLAIN), tmp_path)
    found = infer_trained(trained, ATTACK, None, Setup(round=1, samples=9))
    assert found.adversary == Adversary(("fed_server",))
    matched = matched_by_update(found.found.inputs, found.victims.x, found.victims.batches)
    assert matched.equal(torch.arange(len(matched)))  # already in the order of the truth
    of = {score.of for score in found.scores if score.metric == "MSE"}
    assert of == {
        *("GradientInversion, best matching", "auxiliary images, best matching"),
        *("black image", "mean image", "mean image of the class"),
    }
    path = write_inference(found, RunFolder(trained.path).inference)
    assert (path / "images.png").exists()
    again = infer_trained(trained, ATTACK, None, Setup(round=1, samples=9))
    assert again.scores == found.scores


def test_who_holds_no_updates_cannot_attack_them(tmp_path):
    trained = ran(toy(SplitFedV2(), **PLAIN), tmp_path)
    with pytest.raises(ScenarioError, match="reads 'updates', which main_server of SplitFedV2 does not hold"):
        infer_trained(trained, ATTACK, Adversary(knows=tuple(sorted(ATTACK.needs))), Setup(round=1, samples=9))
    with pytest.raises(ScenarioError, match="needs to know 'server_weights', which the adversary does not"):
        infer_trained(trained, ATTACK, Adversary(("fed_server",)), Setup(round=1, samples=9))
    together = Adversary(("fed_server", "main_server"))
    assert infer_trained(trained, ATTACK, together, Setup(round=1, samples=9)).adversary.knows == ()
    assumed = infer_trained(trained, ATTACK, None, Setup(round=1, samples=9)).adversary
    assert assumed == Adversary(("fed_server",), ("server_weights",))
    handed = ran(toy(SplitLearning(), **PLAIN), tmp_path)
    with pytest.raises(ScenarioError, match="reads 'updates', which fed_server of SplitLearning does not hold"):
        infer_trained(handed, ATTACK, None, Setup(round=1, samples=9))
