"""Feature-space hijacking: what it sends is the critic's gradient, it learns from round to round, and it inverts."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

import raysplit
from raysplit import FeatureSpaceHijacking, HijackedInversion, Observe, SplitFedV1, SplitFedV2, rng
from raysplit.analysis.inference.infer import Setup, infer_trained
from raysplit.analysis.runs.trained import read_trained
from raysplit.attacks.messages.feature_space_hijacking import Hijack, restored
from raysplit.attacks.messages.hijacking_networks import critic, gradient_penalty, pilot
from raysplit.attacks.messages.hook_attack import path_of
from raysplit.channels.channel import Channel
from raysplit.errors import RunError, ScenarioError
from raysplit.storage.checkpoints import read_checkpoint
from tests.toys import play, toy

SMALL = FeatureSpaceHijacking(public=12, width=4, blocks=1, pilot_lr=1e-2, critic_lr=1e-3, penalty=10.0)


def hijacked(**changes):
    return toy(SplitFedV2(), cut="V1", attack=SMALL, **changes)


def test_the_first_client_gets_the_gradient_of_the_untrained_critic():
    scenario = hijacked(observe=Observe((1,), ("smashed", "cut_gradients")))
    noted = play(scenario).observations
    z = {(o.client, o.step): o.tensors["tensor"] for o in noted if o.channel is Channel.SMASHED}
    sent = {(o.client, o.step): o.tensors["tensor"] for o in noted if o.channel is Channel.CUT_GRADIENTS}
    networks = Hijack(SMALL, scenario.seed, (1, 8, 8), (3, 4, 4))
    first = []
    for key, rows in z.items():
        rows = rows.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(networks.critic(rows).mean(), [rows])
        if torch.allclose(gradient, sent[key], atol=1e-9):
            first.append(key)
    assert len(first) == 1, "one step is the first; at all others the critic has learned"


def test_every_step_is_the_papers_by_hand():
    """Sent gradients of one client's steps, from the equations: pilot and inverse rebuild, D is low on the pilot's."""
    watch = Observe((1,), ("smashed", "cut_gradients"))
    scenario = hijacked(clients=1, training__local_epochs=4, training__rounds=1, observe=watch)
    noted = play(scenario).observations
    z = [o.tensors["tensor"] for o in noted if o.channel is Channel.SMASHED]
    sent = [o.tensors["tensor"] for o in noted if o.channel is Channel.CUT_GRADIENTS]
    public = scenario.population.open().test(0).x.float() / 255
    net = Hijack(SMALL, scenario.seed, (1, 8, 8), (3, 4, 4))
    rebuild = torch.optim.Adam([*net.pilot.parameters(), *net.inverse.parameters()], lr=SMALL.pilot_lr)
    judge = torch.optim.Adam(net.critic.parameters(), lr=SMALL.critic_lr)
    assert len(z) == 4
    for step, rows in enumerate(z):
        draw = rng.torch_stream(scenario.seed, "hijack", 1, 0, step)
        x = public[torch.randint(len(public), (len(rows),), generator=draw)]
        known = rows.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(net.critic(known).mean(), [known])
        assert torch.allclose(gradient, sent[step], atol=1e-7), step
        imitated, mix = net.pilot(x), torch.rand((len(rows), 1, 1, 1), generator=draw)
        loss = functional.mse_loss(net.inverse(imitated), x)
        between = (mix * rows + (1 - mix) * imitated.detach()).requires_grad_()
        (slope,) = torch.autograd.grad(net.critic(between).sum(), [between], create_graph=True)
        penalty = ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()
        distance = net.critic(imitated.detach()).mean() - net.critic(rows).mean() + SMALL.penalty * penalty
        for optimizer, value in ((rebuild, loss), (judge, distance)):
            optimizer.zero_grad()
            value.backward()
            optimizer.step()


def test_it_goes_on_where_it_stopped_and_a_resumed_run_has_the_same_bits(tmp_path):
    scenario = hijacked(training__rounds=4, checkpoint_every=2)
    straight = play(scenario, folder=tmp_path)
    learned = straight.state.memory[path_of(SMALL)]
    assert learned["adam/critic/0/step"] == 4 * sum(straight.messages_on(r)["smashed"] for r in (1,))
    half = read_checkpoint(tmp_path / "checkpoints" / "round-000002", straight.layout, scenario.hash)
    resumed = play(scenario, start=half)
    assert resumed.digest == straight.digest
    again = resumed.state.memory[path_of(SMALL)]
    assert all(again[name].equal(tensor) for name, tensor in learned.items())
    networks, optimizers = restored(SMALL, learned, scenario.seed, (1, 8, 8))
    assert networks.pilot[0].weight.equal(learned["net/pilot.0.weight"])
    assert len(optimizers["critic"].state) == len(list(networks.critic.parameters()))


def test_the_task_is_not_what_clients_learn_and_the_tables_say_so():
    honest, attacked = play(toy(SplitFedV2(), cut="V1")), play(hijacked())
    assert attacked.digest != honest.digest
    rows = attacked.tables["attacks"].to_pylist()
    assert [row["attack"] for row in rows] == ["FeatureSpaceHijacking"] * 2
    assert rows[0]["messages"] == attacked.messages_on(1)["cut_gradients"] and rows[0]["relative_change"] > 0
    assert attacked.tables["rounds"].column("attacked").to_pylist() == [True, True]
    assert attacked.bytes_on() == honest.bytes_on()


@pytest.mark.parametrize(
    ("protocol", "cut", "words"),
    [(SplitFedV1(), "V1", "replicas"), (SplitFedV2(), "V3", r"\[channels, height, width\]")],
)
def test_where_it_cannot_be_carried_out_it_is_refused(protocol, cut, words):
    with pytest.raises(ScenarioError, match=words):
        toy(protocol, cut=cut, attack=SMALL)


def test_networks_fit_the_smashed_data():
    for z_shape in ((3, 4, 4), (5, 7, 7), (2, 8, 8)):
        z = pilot((1, 8, 8), z_shape)(torch.rand(2, 1, 8, 8))
        assert z.shape == (2, *z_shape) and critic(z_shape, 4, 1)(z).shape == (2, 1)


def test_the_gradient_penalty_of_a_linear_critic_is_known():
    linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 1))
    expected = (linear[1].weight.detach().norm() - 1) ** 2
    found = gradient_penalty(linear, torch.rand(4, 3, 2, 2), torch.rand(4, 3, 2, 2), torch.rand(4, 1, 1, 1))
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_inversion_is_by_what_was_learned_before_the_round(tmp_path):
    scenario = hijacked(training__rounds=3, checkpoint_every=1)
    run = raysplit.run(scenario, engine="local", out=tmp_path)
    trained = read_trained(run.path, scenario)
    found = infer_trained(trained, HijackedInversion(), None, Setup(round=3, samples=8))
    assert found.found.inputs.shape == (8, 1, 8, 8) and found.adversary.knows == ()
    with pytest.raises(RunError, match="nothing of it is kept there"):
        infer_trained(trained, HijackedInversion(), None, Setup(round=1, samples=8))
    plain = toy(SplitFedV2(), cut="V1")
    with pytest.raises(ScenarioError, match="needs to know 'hijack'"):
        infer_trained(
            read_trained(raysplit.run(plain, engine="local", out=tmp_path).path, plain),
            HijackedInversion(),
            None,
            Setup(),
        )
