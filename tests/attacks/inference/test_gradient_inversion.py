"""Gradient inversion: its optimisation is the published one written out, and what it matches is what a run's client
really sent."""

from __future__ import annotations

import copy
import dataclasses
from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.nn import functional

import raysplit
from raysplit import Adam, FedAvg, GradientInversion, ImagePrior, Sgd, Sglr, SplitFedV1, SplitFedV2
from raysplit.analysis.inference.infer import infer_trained
from raysplit.analysis.inference.setup import Setup
from raysplit.analysis.runs.trained import Trained, read_trained
from raysplit.attacks.inference.gradient_inversion import _match, inferred_labels
from raysplit.attacks.inference.inference_attack import InferenceAttack, Knowledge, Observed
from raysplit.attacks.inference.local_training import LocalTraining
from raysplit.attacks.inference.target import ObservedUpdates, Target
from raysplit.channels.channel import Channel
from raysplit.errors import RunError, ScenarioError
from tests.toys import toy

CLASSES, LR = 3, 0.1


def network(smooth: bool = True) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        stages = [("conv", nn.Conv2d(1, 2, 3)), ("act", nn.Sigmoid() if smooth else nn.ReLU())]
        return nn.Sequential(OrderedDict([*stages, ("flat", nn.Flatten()), ("fc", nn.Linear(32, CLASSES))])).double()


def target(batches: tuple[int, ...], epochs: int = 1) -> Target:
    model = network().requires_grad_(False)
    shapes = {name: p.shape for name, p in model.named_parameters()}

    def named(update: torch.Tensor) -> dict[str, torch.Tensor]:
        parts = torch.split(update, [shape.numel() for shape in shapes.values()])
        return {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}

    return Target(
        1,
        (1, 6, 6),
        CLASSES,
        0.0,
        1.0,
        lambda _: network(),
        model,
        lambda z: z,
        updates=ObservedUpdates(named, LocalTraining(LR, epochs, (batches,), True, False)),
    )


def samples(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(n)
    return torch.rand(n, 1, 6, 6, generator=generator).double(), torch.randint(CLASSES, (n,), generator=generator)


def sent(x: torch.Tensor, y: torch.Tensor, batches: tuple[int, ...], epochs: int = 1) -> torch.Tensor:
    """The update [1, d] of a client that trains by ``torch.optim.SGD``."""
    model = network()
    before = torch.cat([p.detach().flatten() for p in model.parameters()])
    sgd = torch.optim.SGD(model.parameters(), lr=LR)
    for _ in range(epochs):
        for rows in torch.split(torch.arange(len(x)), list(batches)):
            sgd.zero_grad()
            functional.cross_entropy(model(x[rows]), y[rows]).backward()
            sgd.step()
    return (torch.cat([p.detach().flatten() for p in model.parameters()]) - before)[None]


def observed(attack: InferenceAttack, update: torch.Tensor, n: int) -> Observed:
    zeros = torch.zeros(n, dtype=torch.int64)
    return Observed(attack, {Channel.UPDATES: update}, zeros, zeros + n)


GEIPING = GradientInversion.geiping(steps=8)
SMOOTHED = dataclasses.replace(GEIPING, prior=ImagePrior(0.5, form="absolute"))


def test_geiping_is_the_published_preset():
    """4,800 steps of Adam on signs at 0.1, cosine, absolute total variation of 1e-4, inputs cut to their range."""
    made = GradientInversion.geiping()
    assert (made.steps, made.restarts, made.lr, made.distance, made.optimizer) == (
        4800,
        1,
        0.1,
        "cosine",
        "signed_adam",
    )
    assert made.prior == ImagePrior(1e-4, form="absolute") and made.boxed and made.labels == "inferred"


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("attack", [GEIPING, SMOOTHED], ids=["published prior", "strong prior"])
def test_geiping_equals_inverting_gradients_written_out(attack, signed):
    """Cosine distance, absolute total variation, Adam on signs with its rate decayed or on the gradient as it is, inputs cut
    to their range."""
    x, y = samples(2)
    update, against = sent(x, y, (2,)), target((2,))
    if not signed:
        attack = dataclasses.replace(attack, optimizer="adam")
    found = attack.infer(observed(attack, update, 2), Knowledge(attack, against))

    model, goal = network(), -update[0] / LR
    guess = torch.randn(
        (2, 1, 6, 6), generator=Knowledge(attack, against).generator("start"), dtype=torch.float64
    ).requires_grad_()
    adam = torch.optim.Adam([guess], lr=0.1)
    for step in range(8):
        for group in adam.param_groups:
            group["lr"] = 0.1 * 0.1 ** ((step >= 3) + (step >= 5) + (step >= 7)) if signed else 0.1
        loss = functional.cross_entropy(model(guess), found.labels)
        flat = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()), create_graph=True)])
        variation = 0.0
        for image in guess[:, 0]:
            down = sum((image[i + 1, j] - image[i, j]).abs() for i in range(5) for j in range(6)) / 30
            across = sum((image[i, j + 1] - image[i, j]).abs() for i in range(6) for j in range(5)) / 30
            variation = variation + (down + across) / 2
        total = 1 - (flat @ goal) / (flat.norm() * goal.norm()) + attack.prior.variation * variation
        gradient = torch.autograd.grad(total, [guess])[0]
        guess.grad = gradient.sign() if signed else gradient
        adam.step()
        guess.data.clamp_(0, 1)
    assert sorted(y.tolist()) == found.labels.tolist()
    assert torch.allclose(found.inputs, guess.detach(), atol=1e-10)


def test_signs_and_total_variation_each_make_a_difference():
    x, y = samples(2)
    update, against = sent(x, y, (2,)), target((2,))
    made = [GEIPING, dataclasses.replace(GEIPING, optimizer="adam"), SMOOTHED]
    found = [one.infer(observed(one, update, 2), Knowledge(one, against)).inputs for one in made]
    assert (found[0] - found[1]).abs().max() > 0.01 and (found[0] - found[2]).abs().max() > 0.01
    flat = [float(images.diff(dim=3).abs().mean()) for images in found]
    assert flat[2] < flat[0]


def test_of_two_starts_the_one_with_the_smaller_loss_is_kept():
    x, y = samples(1)
    update, against = sent(x, y, (1,)), target((1,))
    attack = GradientInversion.geiping(steps=5, restarts=2)
    kept = attack.infer(observed(attack, update, 1), Knowledge(attack, against)).inputs
    model, goal, draw = network(), -update[0] / LR, Knowledge(attack, against).generator("start")
    single, knowledge = dataclasses.replace(attack, restarts=1), Knowledge(attack, against)
    knowledge.generator = lambda _: draw  # goes on where the start before it ended
    tried = []
    for _ in range(2):
        found = single.infer(observed(single, update, 1), knowledge).inputs
        loss = functional.cross_entropy(model(found), y)
        flat = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])
        variation = found.diff(dim=2).abs().mean() + found.diff(dim=3).abs().mean()
        tried.append((float(1 - functional.cosine_similarity(flat, goal, dim=0) + 1e-4 * variation), found))
    assert torch.equal(kept, min(tried, key=lambda one: one[0])[1]) and not torch.equal(tried[0][1], tried[1][1])


def test_dlg_is_one_lbfgs_on_inputs_and_labels_together():
    x, y = samples(1)
    update, against = sent(x, y, (1,)), target((1,))
    attack = GradientInversion.dlg(steps=3)
    found = attack.infer(observed(attack, update, 1), Knowledge(attack, against))

    model, goal, draw = network(), -update[0] / LR, Knowledge(attack, against).generator("start")
    guess = torch.randn((1, 1, 6, 6), generator=draw, dtype=torch.float64).requires_grad_()
    label = torch.randn((1, CLASSES), generator=draw, dtype=torch.float64).requires_grad_()
    lbfgs = torch.optim.LBFGS([guess, label], lr=1.0)

    def closure() -> torch.Tensor:
        lbfgs.zero_grad()
        loss = -(label.softmax(1) * model(guess).log_softmax(1)).sum(1).mean()
        flat = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()), create_graph=True)])
        distance = (flat - goal).square().sum()
        distance.backward(inputs=[guess, label])
        return distance

    for _ in range(3):
        lbfgs.step(closure)
    assert torch.allclose(found.inputs, guess.detach(), atol=1e-8)
    assert found.labels.equal(label.argmax(1))


def test_one_sample_of_a_smooth_network_comes_back_with_its_label():
    x, y = samples(1)
    attack = GradientInversion.idlg(steps=40)
    found = attack.infer(observed(attack, sent(x, y, (1,)), 1), Knowledge(attack, target((1,))))
    assert found.labels.equal(y)
    assert float((found.inputs - x).square().mean()) < 1e-6 < float((x - 0.5).square().mean())


@pytest.mark.parametrize(("batches", "epochs"), [((3,), 1), ((2, 1), 1), ((2, 1), 3)])
def test_the_true_samples_explain_several_local_steps(batches, epochs):
    x, y = samples(3)
    attack, against = GradientInversion(labels="joint"), target(batches, epochs)
    update = sent(x, y, batches, epochs)
    match = _match(attack, Knowledge(attack, against), update[0], 0)
    made = match.made(x, functional.one_hot(y, CLASSES).double())
    for name, tensor in match.observed.items():
        assert torch.allclose(made[name], tensor, atol=1e-12)
    one_less = _match(attack, Knowledge(attack, target(batches, epochs + 1)), update[0], 0)
    wrong = one_less.made(x, functional.one_hot(y, CLASSES).double())
    assert not all(torch.allclose(wrong[name], tensor, atol=1e-4) for name, tensor in match.observed.items())


@pytest.mark.parametrize("bias", [True, False])
def test_the_label_of_one_sample_is_read_off_the_last_layer(bias):
    for seed in range(20):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, CLASSES, bias=bias))
        y = torch.randint(CLASSES, (1,))
        loss = functional.cross_entropy(model(torch.rand(1, 1, 6, 6)), y)
        names = [name for name, _ in model.named_parameters()]
        gradient = dict(zip(names, torch.autograd.grad(loss, list(model.parameters())), strict=True))
        assert inferred_labels(gradient, 1).equal(y)


def test_labels_of_a_batch_are_counted_off_the_last_bias():
    p, counts = torch.full((4,), 0.25), torch.tensor([3, 0, 1, 2])
    assert inferred_labels({"bias": p - counts / 6}, 6).tolist() == [0, 0, 0, 2, 3, 3]


def test_known_labels_are_used_and_not_scored():
    x, y = samples(2)
    attack, against = GradientInversion(labels="known", steps=2), target((2,))
    told = copy.copy(against)
    object.__setattr__(told, "labels", y)
    knowledge = Knowledge(attack, told)
    found = attack.infer(observed(attack, sent(x, y, (2,)), 2), knowledge)
    assert found.labels is None and knowledge.told == {0, 1}
    guessing = GradientInversion(labels="joint", steps=2)
    blind = guessing.infer(observed(guessing, sent(x, y, (2,)), 2), Knowledge(guessing, against))
    assert not found.inputs.equal(blind.inputs)


def ran(scenario, tmp_path) -> Trained:
    run = raysplit.run(scenario, engine="local", out=tmp_path)
    return read_trained(run.path, scenario)


FLOAT64 = {"training__optimizer": Sgd(), "training__precision": "float64"}
WHOLE = {**FLOAT64, "training__batch_size": None}


@pytest.mark.parametrize(
    ("protocol", "tail", "changes"),
    [
        (FedAvg(), None, FLOAT64),
        (SplitFedV1(), None, WHOLE),
        (SplitFedV2(), None, {**WHOLE, "clients": 1}),
        (SplitFedV1(u_shaped=True), "fc1", WHOLE),
    ],
)
def test_the_true_samples_explain_what_a_runs_clients_sent(protocol, tail, changes, tmp_path):
    trained = ran(toy(protocol, tail=tail, **changes), tmp_path)
    attack = GradientInversion(labels="joint", steps=1)
    found = infer_trained(trained, attack, None, Setup(round=2, samples=1000))
    victims, knowledge = found.victims, Knowledge(attack, found.target)
    assert len(victims.messages[Channel.UPDATES]) == changes.get("clients", 6)
    for number, update in enumerate(victims.messages[Channel.UPDATES]):
        rows = victims.batches == number
        match = _match(attack, knowledge, update, number)
        made = match.made(victims.x[rows], functional.one_hot(victims.y[rows], 5).double())
        assert set(made) == set(match.observed)
        for name, tensor in match.observed.items():
            assert torch.allclose(made[name], tensor, atol=1e-10), name


@pytest.mark.parametrize(
    ("protocol", "changes", "words"),
    [
        (FedAvg(), {"training__optimizer": Adam()}, "unrolls plain SGD, but clients train with another optimiser"),
        (FedAvg(), {}, "momentum or weight decay"),
        (SplitFedV2(), {"training__optimizer": Sgd()}, "beside a server portion that moved at each"),
    ],
)
def test_what_it_cannot_unroll_is_said_in_a_sentence(protocol, changes, words, tmp_path):
    trained = ran(toy(protocol, **changes), tmp_path)
    with pytest.raises(ScenarioError, match=words):
        infer_trained(trained, GradientInversion(labels="joint", steps=1), None, Setup(round=1, samples=100))


def test_labels_of_a_splitfed_client_are_not_in_its_update(tmp_path):
    trained = ran(toy(SplitFedV2(), **WHOLE), tmp_path)
    with pytest.raises(ScenarioError, match="no part of a client's update in SplitFedV2; give labels='known'"):
        infer_trained(trained, GradientInversion(steps=1), None, Setup(round=1, samples=100))
    with pytest.raises(RunError, match="goes by 'updates', which there are in training only"):
        infer_trained(trained, GradientInversion(steps=1, labels="joint"))


def test_an_update_of_everybodys_mean_gradient_is_refused(tmp_path):
    trained = ran(toy(Sglr(synchronise=True), training__optimizer=Sgd()), tmp_path)
    with pytest.raises(ScenarioError, match="but Sglr answers all clients with their mean; attack another protocol"):
        infer_trained(trained, GradientInversion(steps=1, labels="joint"), None, Setup(round=1, samples=100))


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"lr": 0.0}, {"restarts": 0}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ScenarioError, match="takes steps and restarts from 1"):
        GradientInversion(**wrong)
