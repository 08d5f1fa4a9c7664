"""The label-aware hijacking: what it sends is the discriminator's gradient by label, it goes on learning, it inverts."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

import raysplit
from raysplit import HijackedInversion, LabelAwareHijacking, Observe, RandomLabels, SplitFedV2, rng
from raysplit.analysis.inference.infer import Setup, infer_trained
from raysplit.analysis.runs.trained import read_trained
from raysplit.attacks.messages.hook_attack import path_of
from raysplit.attacks.messages.label_aware_hijacking import Shadow
from raysplit.channels.channel import Channel
from raysplit.errors import ScenarioError
from raysplit.storage.checkpoints import read_checkpoint
from tests.toys import play, toy

BEFORE = LabelAwareHijacking(public=12, epochs=2, width=4, blocks=1, shadow_lr=1e-2, discriminator_lr=1e-2)
JOINTLY = LabelAwareHijacking("jointly", public=12, width=4, blocks=1, shadow_lr=1e-2, discriminator_lr=1e-2)


def hijacked(attack, **changes):
    return toy(SplitFedV2(), cut="V1", attack=attack, **changes)


@pytest.mark.parametrize("attack", [BEFORE, JOINTLY], ids=["before", "jointly"])
def test_every_step_is_the_papers_by_hand(attack):
    """One client's steps: D tells z from the shadow's by label, and the client is sent towards the shadow's side."""
    watch = Observe((1,), ("smashed", "cut_gradients"))
    scenario = hijacked(attack, clients=1, training__local_epochs=4, training__rounds=1, observe=watch)
    noted = play(scenario).observations
    z = [o.tensors["tensor"] for o in noted if o.channel is Channel.SMASHED]
    labels = [o.tensors["labels"] for o in noted if o.channel is Channel.SMASHED]
    sent = [o.tensors["tensor"] for o in noted if o.channel is Channel.CUT_GRADIENTS]
    public = scenario.population.open().test(0)
    x, x_labels = public.x.float() / 255, public.y
    net = Shadow(attack, scenario.seed, (1, 8, 8), (3, 4, 4), 5, {})
    adam = torch.optim.Adam
    rebuild = adam([*net.shadow.parameters(), *net.decoder.parameters()], lr=attack.shadow_lr)
    tell = adam(net.discriminator.parameters(), lr=attack.discriminator_lr)

    def step(optimizer, loss):
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    if attack.training == "before":
        for epoch in range(attack.epochs):
            draw = rng.torch_stream(scenario.seed, "hijack before training", epoch)
            mixed = x[torch.randperm(len(x), generator=draw)]
            step(rebuild, functional.mse_loss(net.decoder(net.shadow(mixed)), mixed))
    assert len(z) == 4
    for number, (rows, y) in enumerate(zip(z, labels, strict=True)):
        draw = rng.torch_stream(scenario.seed, "hijack", 1, 0, number)
        chosen = torch.randint(len(x), (len(rows),), generator=draw)
        imitated = net.shadow(x[chosen]).detach()
        if attack.training == "jointly":
            step(rebuild, functional.mse_loss(net.decoder(net.shadow(x[chosen])), x[chosen]))
        known = rows.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(functional.cross_entropy(net.discriminator(known), 2 * y + 1), [known])
        assert torch.allclose(gradient, sent[number], atol=1e-7), number
        real = functional.cross_entropy(net.discriminator(rows), 2 * y)
        step(tell, real + functional.cross_entropy(net.discriminator(imitated), 2 * x_labels[chosen] + 1))


@pytest.mark.parametrize("attack", [BEFORE, JOINTLY], ids=["before", "jointly"])
def test_a_resumed_run_has_the_same_bits(attack, tmp_path):
    scenario = hijacked(attack, training__rounds=4, checkpoint_every=2)
    straight = play(scenario, folder=tmp_path)
    half = read_checkpoint(tmp_path / "checkpoints" / "round-000002", straight.layout, scenario.hash)
    resumed = play(scenario, start=half)
    assert resumed.digest == straight.digest
    learned, again = (played.state.memory[path_of(attack)] for played in (straight, resumed))
    assert learned.keys() == again.keys() and all(learned[name].equal(again[name]) for name in learned)
    assert [row["attack"] for row in straight.tables["attacks"].to_pylist()] == ["LabelAwareHijacking"] * 4


def test_what_it_has_learned_inverts_smashed_data(tmp_path):
    scenario = hijacked(BEFORE, training__rounds=2, checkpoint_every=1)
    run = raysplit.run(scenario, engine="local", out=tmp_path)
    found = infer_trained(read_trained(run.path, scenario), HijackedInversion(), None, Setup(round=2, samples=8))
    assert found.found.inputs.shape == (8, 1, 8, 8)


@pytest.mark.parametrize("attack", [BEFORE, RandomLabels()], ids=["hijacking", "random labels"])
def test_without_labels_at_the_server_it_is_refused(attack):
    with pytest.raises(ScenarioError, match="U-shaped"):
        toy(SplitFedV2(u_shaped=True), cut="V1", tail="fc1", attack=attack)
