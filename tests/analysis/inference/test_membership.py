"""Membership: who the candidates are, what the attacks make of them, and what the scores mean."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

import raysplit
from raysplit import (
    Adversary,
    CalibratedMembership,
    Cohort,
    CutGradientMembership,
    FedAvg,
    LabelFlip,
    LossMembership,
    ParallelSl,
    Sgd,
    SplitFedV2,
)
from raysplit.analysis.inference.files import write_inference
from raysplit.analysis.inference.infer import infer_trained
from raysplit.analysis.inference.replay import observe_round
from raysplit.analysis.inference.setup import Setup
from raysplit.analysis.runs.trained import Trained, read_trained, trained_model
from raysplit.analysis.scores.membership import balanced_accuracy, true_positives_at
from raysplit.app.commands.infer import threat_lines
from raysplit.attacks.inference.calibrated_membership import statistic_of
from raysplit.attacks.inference.inference_attack import Knowledge
from raysplit.attacks.inference.observe import Observe
from raysplit.channels.channel import Channel
from raysplit.errors import RunError, ScenarioError
from raysplit.storage.run_folder import RunFolder
from tests.attacks.inference.test_dense_layer_inversion import ToyMlp
from tests.toys import toy


def ran(scenario, tmp_path) -> Trained:
    run = raysplit.run(scenario, engine="local", out=tmp_path)
    return read_trained(run.path, scenario)


def made(seed: int, levels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores with many ties where ``levels`` are few, and who is a member."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(levels, (300,), generator=generator).double()
    return scores, torch.rand(300, generator=generator) < 0.4 + 0.2 * scores / levels


@pytest.mark.parametrize("levels", [2, 7, 10_000])
def test_rates_are_those_of_the_roc_curve(levels):
    metrics = pytest.importorskip("sklearn.metrics")
    for seed in range(10):
        scores, members = made(seed, levels)
        fpr, tpr, _ = metrics.roc_curve(members.numpy(), scores.numpy(), drop_intermediate=False)
        for rate in (0.0, 0.001, 0.01, 0.1, 0.5, 1.0):
            assert true_positives_at(scores, members, rate) == pytest.approx(tpr[fpr <= rate].max(), abs=1e-12)
        assert balanced_accuracy(scores, members) == pytest.approx(((tpr + 1 - fpr) / 2).max(), abs=1e-12)


def test_few_members_named_for_certain_score_at_low_rates_alone():
    members = torch.arange(2000) < 1000
    sure = torch.zeros(2000)
    sure[:50] = 1.0
    assert true_positives_at(sure, members, 0.001) == 0.05 and balanced_accuracy(sure, members) == 0.525
    one_alarm = sure.clone()
    one_alarm[1500] = 2.0
    assert true_positives_at(one_alarm, members, 0.001) == 0.05 and true_positives_at(one_alarm, members, 0.0) == 0.0


def test_candidates_are_training_samples_and_as_many_test_samples_of_every_client(tmp_path):
    trained = ran(toy(FedAvg()), tmp_path)
    found = infer_trained(trained, LossMembership(), None, Setup(samples=1000))
    population, victims = trained.scenario.population.open(), found.victims
    assert victims.members.sum() * 2 == len(victims)
    for client in range(6):
        of = victims.clients == client
        known, fresh = population.train(client), population.test(client)
        each = min(len(known.y), len(fresh.y))
        for kind, samples in ((victims.members, known), (~victims.members, fresh)):
            images = (victims.x[of & kind] * 255).round().to(torch.uint8)
            assert len(images) == each
            assert all(any(image.equal(one) for one in samples.x) for image in images)
            assert len({image.numpy().tobytes() for image in images}) == each
    assert found.target.auxiliary is None or not any(
        one.equal(other) for one in found.target.auxiliary.x for other in victims.x
    )
    assert len(infer_trained(trained, LossMembership(), None, Setup(samples=6)).victims) == 6
    assert set(infer_trained(trained, LossMembership(), None, Setup(client=3)).victims.clients.tolist()) == {3}


def test_who_never_trained_or_was_poisoned_is_no_member(tmp_path):
    scenario = toy(FedAvg(), clients=12, cohort=Cohort(4, malicious=0.5), attack=LabelFlip(), training__rounds=1)
    trained = ran(scenario, tmp_path)
    table = raysplit.open_run(trained.path).clients.to_pydict()
    honest = {c for c, bad in zip(table["client"], table["malicious"], strict=True) if not bad}
    found = infer_trained(trained, LossMembership(), None, Setup(samples=1000))
    assert set(found.victims.clients.tolist()) == honest and 0 < len(honest) < 4


def test_a_model_that_has_learned_its_samples_by_heart_gives_them_away(tmp_path):
    """Labels of toys are random, so all that can be learned is the samples themselves."""
    often = {"training__local_epochs": 30, "training__optimizer": Sgd(momentum=0.9), "training__lr": 0.05}
    trained = ran(toy(FedAvg(), clients=4, model=ToyMlp(units=64), **often), tmp_path)
    found = infer_trained(trained, LossMembership(), None, Setup(samples=1000))
    score = {(s.of, s.metric): s.value for s in found.scores}
    assert score["LossMembership", "AUC"] > 0.8 > score["a coin", "AUC"]
    network, victims = trained_model(trained, None), found.victims
    loss = functional.cross_entropy(network(victims.x), victims.y, reduction="none")
    assert torch.allclose(found.found.membership_scores, -loss.detach(), atol=1e-5)


def test_cut_gradients_of_candidates_are_those_that_a_client_would_get_next(tmp_path):
    """Those of the one sample that the client trains on in the next round, which is played."""
    changes = {"clients": 1, "population__smallest": 1, "training__batch_size": 1, "training__optimizer": Sgd()}
    after_one = ran(toy(SplitFedV2(), **changes, training__rounds=1), tmp_path / "one")
    found = infer_trained(after_one, CutGradientMembership(), None, Setup(samples=1000))
    after_two = ran(toy(SplitFedV2(), **changes, training__rounds=2), tmp_path / "two")
    asked = Observe((2,), ("smashed", "cut_gradients"))
    seen = observe_round(RunFolder(after_two.path), after_two.scenario, asked).observations
    first = {noted.channel: noted.tensors["tensor"] for noted in seen if noted.step == 0}
    z, gradients = found.victims.messages[Channel.SMASHED], found.victims.messages[Channel.CUT_GRADIENTS]
    assert found.victims.members.tolist() == [True, False] and found.adversary == Adversary(("main_server",))
    assert torch.allclose(z[:1], first[Channel.SMASHED], atol=1e-6)
    assert torch.allclose(gradients[:1], first[Channel.CUT_GRADIENTS], atol=1e-6)
    assert torch.allclose(found.found.membership_scores, -gradients.flatten(1).norm(dim=1))


def test_calibration_is_the_difference_to_a_reference_that_is_trained_as_written(tmp_path):
    trained = ran(toy(SplitFedV2(), clients=12), tmp_path)
    attack = CalibratedMembership(epochs=2, batch_size=4, statistic="loss")
    found = infer_trained(trained, attack, None, Setup(samples=8))
    auxiliary, victims = found.target.auxiliary, found.victims
    knowledge = Knowledge(attack, found.target)
    draw = knowledge.generator("reference", 0)
    network = knowledge.untrained_model(0)
    adam = torch.optim.Adam(network.parameters(), lr=1e-3)
    order = torch.randperm(len(auxiliary.y), generator=draw)
    x, y = auxiliary.x[order], auxiliary.y[order]
    for _ in range(2):
        for rows in torch.split(torch.randperm(len(y), generator=draw), 4):
            adam.zero_grad()
            functional.cross_entropy(network(x[rows]), y[rows]).backward()
            adam.step()
    with torch.no_grad():
        logits = found.target.finish(found.target.client(victims.x))
        reference = functional.cross_entropy(network(victims.x), victims.y, reduction="none")
        own = functional.cross_entropy(logits, victims.y, reduction="none")
    assert torch.allclose(found.found.membership_scores, reference - own, atol=1e-5)


def test_the_logit_is_that_of_the_right_classs_probability():
    torch.manual_seed(0)
    logits, y = torch.randn(9, 4).double(), torch.randint(4, (9,))
    p = logits.softmax(1).gather(1, y[:, None])[:, 0]
    assert torch.allclose(statistic_of("logit", logits, y), torch.log(p / (1 - p)), atol=1e-12)
    assert torch.allclose(statistic_of("loss", logits, y), p.log(), atol=1e-12)
    sure = torch.tensor([[1e4, 0.0, 0.0]])
    assert statistic_of("logit", sure, torch.tensor([0])).isfinite().all()


def test_rates_that_so_few_non_members_cannot_show_are_not_given(tmp_path):
    trained = ran(toy(FedAvg()), tmp_path)
    found = infer_trained(trained, LossMembership(), None, Setup(samples=10))
    assert {s.metric for s in found.scores} == {
        *("AUC", "TPR without a false positive", "balanced accuracy, best threshold"),
    }
    assert "5 members and 5 non-members: a false-positive rate of 0.1 % is less than one of them" in " ".join(
        threat_lines(found)
    )
    path = write_inference(found, RunFolder(trained.path).inference)
    assert (path / "reconstructions.arrow").exists() and not (path / "images.png").exists()


@pytest.mark.parametrize("attack", [LossMembership(), CalibratedMembership(epochs=1), CutGradientMembership()])
def test_taking_away_what_is_declared_ends_it(attack, tmp_path):
    trained = ran(toy(SplitFedV2(), clients=12), tmp_path)
    both = Adversary(("main_server",), tuple(sorted(attack.needs)))
    infer_trained(trained, attack, both, Setup(samples=4))
    for fact in attack.needs - {"server_weights"}:
        less = Adversary(("client",), tuple(sorted(attack.needs - {fact} - {"client_weights", "architecture"})))
        if fact in less.facts(trained.scenario.protocol):
            continue
        with pytest.raises(ScenarioError, match=f"needs to know '{fact}'"):
            infer_trained(trained, attack, less, Setup(samples=4))
    for channel in attack.reads:
        with pytest.raises(
            ScenarioError, match=f"reads '{channel.value}', which fed_server of SplitFedV2 does not hold"
        ):
            infer_trained(trained, attack, Adversary(("fed_server",), tuple(sorted(attack.needs))), Setup(samples=4))
    with pytest.raises(RunError, match="asks about the trained model; leave --round out"):
        infer_trained(trained, attack, None, Setup(round=1))


def test_without_a_client_that_has_both_kinds_of_samples_nothing_can_be_asked(tmp_path):
    trained = ran(toy(FedAvg()), tmp_path)
    with pytest.raises(RunError, match="so --samples must be 2 or more, but it is 1"):
        infer_trained(trained, LossMembership(), None, Setup(samples=1))
    few = ran(toy(FedAvg(), cohort=Cohort(2), training__rounds=1), tmp_path)
    drawn = set(raysplit.open_run(few.path).clients.to_pydict()["client"])
    left = min(set(range(6)) - drawn)
    with pytest.raises(RunError, match="no honest client that trained in toy-"):
        infer_trained(few, LossMembership(), None, Setup(samples=4, client=left))
    personal = ran(toy(ParallelSl(), evaluation__clients=None), tmp_path)
    with pytest.raises(RunError, match="attack one client's trained model: --client 0"):
        infer_trained(personal, LossMembership(), None, Setup(samples=4))
    assert len(infer_trained(personal, LossMembership(), None, Setup(samples=4, client=1)).victims) == 4


@pytest.mark.parametrize("wrong", [{"models": 0}, {"epochs": 0}, {"learning_rate": 0.0}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ScenarioError, match="takes models, epochs and batch_size from 1"):
        CalibratedMembership(**wrong)
