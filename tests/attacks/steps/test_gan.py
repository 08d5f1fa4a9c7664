"""The client-side GAN attack: equal to a plain loop of PyTorch, learning from round to round, refused where it cannot
be."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from raysplit import Adam, CompositeAttack, FedAvg, GanAttack, SplitFedV1, SplitFedV2, SplitLearning, part, rng
from raysplit.attacks.messages.message_attack import client_threat
from raysplit.attacks.steps.generator import Generator, fresh_generator
from raysplit.attacks.steps.step_attack import StepAttack, path_of
from raysplit.channels.channel import Channel
from raysplit.errors import ScenarioError
from raysplit.models.network import build
from raysplit.storage.checkpoints import read_checkpoint
from raysplit.training.failures import ClientFailure
from tests.toys import FrozenCnn, ToyCnn, play, toy

GAN = GanAttack(target=1, epsilon=0.25, latent=6, width=2, lr=1e-2)
ALONE = {"clients": 1, "cohort__malicious": 0.99, "training__rounds": 1, "training__precision": "float64"}
"""One client, which has three samples."""


U_SHAPED = SplitFedV2(u_shaped=True)


def attacked(attack=GAN, protocol=U_SHAPED, tail="fc1", **changes):
    return toy(protocol, cut="V1", tail=tail, attack=attack, **{"cohort__malicious": 0.34, **changes})


def plain_loop(scenario, attack, iterations):
    """The network and the generator after Algorithm 1, written out; one client, SGD with momentum."""
    net = build(scenario.model, scenario.seed, torch.float64)
    head, body, tail = net[:1], net[1:3], net[3:]
    generator = fresh_generator(scenario.seed, 0, attack.latent, attack.width, (1, 8, 8), 0.0, 1.0).double()
    adam = torch.optim.Adam(generator.parameters(), lr=attack.lr)
    settings = {"lr": scenario.training.lr, "momentum": 0.9, "weight_decay": 1e-3}
    server = torch.optim.SGD(body.parameters(), **settings)
    client = torch.optim.SGD([*head.parameters(), *tail.parameters()], **settings)
    for i in range(1, iterations + 1):
        draw = rng.torch_stream(scenario.seed, "gan noise", 0, i)
        x, poisoning = generator(torch.randn((3, attack.latent), generator=draw, dtype=torch.float64)), i % 2 == 0
        z = head(x.detach() if poisoning else x)
        at_server = z.detach().requires_grad_()
        features = body(at_server)
        at_tail = features.detach().requires_grad_()
        for optimizer in (server, client, adam):
            optimizer.zero_grad()
        labels = torch.full((3,), 4 if poisoning else attack.target)
        functional.cross_entropy(tail(at_tail), labels).backward()
        features.backward(at_tail.grad if poisoning else attack.epsilon * at_tail.grad)
        z.backward(at_server.grad if poisoning else at_server.grad / attack.epsilon)
        server.step()
        (client if poisoning else adam).step()
    return net, generator


@pytest.mark.parametrize("epsilon", [0.25, 1.0])
def test_its_iterations_are_those_of_a_plain_loop(epsilon):
    attack = replace(GAN, epsilon=epsilon)
    scenario = attacked(attack, training__local_epochs=4, **ALONE)
    played = play(scenario)
    net, generator = plain_loop(scenario, attack, 4)
    for name, tensor in net.state_dict().items():
        assert torch.allclose(tensor, played.named[name], rtol=0, atol=1e-9), name
    kept = played.state.memory[path_of(attack, 0)]
    assert kept["iteration"] == 4
    for name, tensor in generator.state_dict().items():
        assert torch.allclose(tensor, kept[f"net/{name}"], rtol=0, atol=1e-9), name


def first_step(attack, **changes):
    """The models after an adversarial step, and the generator; nobody but the attacker trains."""
    played = play(attacked(attack, training__optimizer__weight_decay=0.0, **ALONE, **changes))
    return played.named, played.state.memory[path_of(attack, 0)]


def test_scaling_takes_nothing_from_the_generator_and_the_server_moves_by_epsilon():
    initial = build(attacked().model, attacked().seed, torch.float64).state_dict()
    (full, generator), (scaled, same) = (first_step(replace(GAN, epsilon=e)) for e in (1.0, 2.0**-10))
    for name, tensor in generator.items():
        assert tensor.equal(same[name]), name  # a power of two scales without rounding
    for name, tensor in initial.items():
        if name.startswith(("conv1", "fc2")):
            assert full[name].equal(scaled[name]), name  # head and tail stay as they are
        else:
            assert torch.allclose((scaled[name] - tensor) * 2**10, full[name] - tensor, rtol=1e-6, atol=1e-12), name
            assert not full[name].equal(tensor)


def test_adam_at_the_server_divides_epsilon_out_again():
    names = [
        name for name in build(attacked().model, 0, torch.float64).state_dict() if name.startswith(("conv2", "fc1"))
    ]
    initial = build(attacked().model, attacked().seed, torch.float64).state_dict()
    moved = {}
    for epsilon in (1.0, 2.0**-10):
        named, _ = first_step(replace(GAN, epsilon=epsilon), training__server_optimizer=Adam())
        moved[epsilon] = sum(float((named[name] - initial[name]).square().sum()) for name in names) ** 0.5
    assert moved[2.0**-10] == pytest.approx(moved[1.0], rel=0.05) and moved[1.0] > 0


def test_an_adversarial_step_leaves_batch_norm_at_the_client_as_it_was():
    model = ToyCnn("V1", "fc1", batch_norm=True)
    named, _ = first_step(GAN, model=model)
    fresh = build(model, attacked().seed, torch.float64).state_dict()
    assert named["conv1.1.running_mean"].equal(fresh["conv1.1.running_mean"])
    assert not named["conv2.1.running_mean"].equal(fresh["conv2.1.running_mean"]), "the server's moves"


@pytest.mark.parametrize(
    ("attack", "adversarial"),
    [
        (GAN, 2),
        (replace(GAN, poison="odd"), 1),
        (replace(GAN, poison="never"), 3),
        (replace(GAN, turns="rounds"), 3),
        (replace(GAN, poison="odd", turns="rounds"), 0),
    ],
)
def test_of_three_steps_of_a_round_so_many_are_adversarial(attack, adversarial):
    played = play(attacked(attack, training__local_epochs=3, **ALONE))
    kept = played.state.memory[path_of(attack, 0)]
    assert int(kept.get("adam/generator/0/step", 0)) == adversarial


def test_with_labels_at_the_server_it_sends_the_target_and_cannot_scale():
    attack = replace(GAN, epsilon=1.0)
    scenario = attacked(attack, SplitFedV2(), None, **ALONE)
    played = play(scenario)
    assert played.label_bytes_on() == {"smashed": 3 * 8} and played.state.memory[path_of(attack, 0)]["iteration"] == 1
    with pytest.raises(ScenarioError, match="'feature_gradients', which SplitFedV2 does not have"):
        attacked(GAN, SplitFedV2(), None)


@pytest.mark.parametrize("protocol", [SplitLearning(u_shaped=True), SplitFedV1(u_shaped=True)])
def test_honest_clients_messages_and_the_bytes_are_those_of_a_clean_run(protocol):
    with_attack, clean = play(attacked(protocol=protocol)), play(attacked(None, protocol))
    assert with_attack.digest != clean.digest
    assert with_attack.bytes_on() == clean.bytes_on() and with_attack.messages_on() == clean.messages_on()
    rows = with_attack.tables["attacks"].to_pylist()
    assert [row["attack"] for row in rows] == ["GanAttack"] * 2 and rows[0]["m"] == 2
    assert rows[0]["messages"] > 0 and rows[0]["relative_change"] is None
    kept = [path for path in with_attack.state.memory if "attack/GanAttack" in path]
    assert len(kept) == 2, "each malicious client has its own generator"


def test_a_resumed_run_goes_on_where_the_generator_stopped(tmp_path):
    scenario = attacked(training__rounds=4, checkpoint_every=2)
    straight = play(scenario, folder=tmp_path)
    half = read_checkpoint(tmp_path / "checkpoints" / "round-000002", straight.layout, scenario.hash)
    resumed = play(scenario, start=half)
    assert resumed.digest == straight.digest
    for path, state in straight.state.memory.items():
        assert all(resumed.state.memory[path][name].equal(tensor) for name, tensor in state.items()), path


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dummy": 1}, "both are 1; choose another dummy"),
        ({"dummy": 5}, "GanAttack.dummy is 5, but ToyCnn tells 5 classes apart"),
        ({"target": 4}, "GanAttack.target is 4, the last class of ToyCnn, which is the dummy"),
        ({"epsilon": 0.0}, "GanAttack.epsilon must be above 0"),
        ({"epsilon": 2.0}, "GanAttack.epsilon"),
    ],
)
def test_what_cannot_be_meant_is_refused(change, words):
    with pytest.raises(ScenarioError, match=words):
        attacked(replace(GAN, **change))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: attacked(cohort__malicious=0.0), "GanAttack needs malicious clients, but Cohort.malicious is 0"),
        (lambda: toy(FedAvg(), attack=GAN, cohort__malicious=0.5), "which FedAvg does not have"),
        (lambda: attacked(model=FrozenCnn("V1", "fc1", frozen=("conv1",))), "the head of FrozenCnn is frozen"),
        (lambda: attacked(CompositeAttack((GAN, replace(GAN, target=2)))), "GanAttack and GanAttack both would"),
    ],
)
def test_where_it_cannot_be_carried_out_it_is_refused(make, words):
    with pytest.raises(ScenarioError, match=words):
        make()


@part
class Wrong(StepAttack):
    """Sends what no honest client could, in the way that ``how`` says."""

    how: str = "rows"

    @property
    def threat_model(self):
        return client_threat(Channel.SMASHED)

    def steps(self, start):
        return self

    def learned(self):
        return {}

    def step(self, slot, x, y, address, rule):
        z = slot.forward(x).detach()
        if self.how == "nothing":
            return None
        rows, labels = (z[:1], y[:1]) if self.how == "rows" else (z, y + 99 if self.how == "label" else y)
        channel = Channel.UPDATES if self.how == "channel" else Channel.SMASHED
        address = address._replace(step=7) if self.how == "step" else address
        answer = yield address.message(channel, rows, None if self.how == "unlabelled" else labels)
        if self.how == "more":
            yield address.message(Channel.SMASHED, z, y)
        return answer.score


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("rows", "sends 1 samples on 'smashed' in a batch of 3"),
        ("label", "sends labels outside of 0 to 4"),
        ("unlabelled", "sends smashed data without labels"),
        ("channel", "does not send its 'smashed' where an honest client does"),
        ("step", "of another split step than its own"),
        ("more", "sends more in a split step"),
        ("nothing", "ends a split step before its 'smashed'"),
    ],
)
def test_an_attack_of_ones_own_sends_what_an_honest_client_could(how, words):
    with pytest.raises((ScenarioError, ClientFailure), match=words):
        play(attacked(Wrong(how), SplitFedV2(), None, **ALONE))


def test_generated_images_have_the_shape_and_range_of_inputs():
    for shape in ((1, 8, 8), (3, 10, 9), (1, 112, 92)):
        made = Generator(5, 1, shape, -1.0, 3.0)(torch.randn(2, 5))
        assert made.shape == (2, *shape) and made.min() >= -1 and made.max() <= 3
