"""Attacks on messages as scenarios name them: who lies, what changes, and that nobody else's messages do."""

from dataclasses import replace

import pytest
import torch

from raysplit import (
    Cohort,
    CompositeAttack,
    FeatureGradientTampering,
    FeatureReplacement,
    Misalignment,
    Scheduled,
    ServerSteering,
    ServerTampering,
    SignFlip,
    SmashedAscent,
    SmashedBackdoor,
    SmashedNoise,
    SmashedTailored,
    TrimmedMean,
    WireLabelFlip,
)
from raysplit.attacks.messages.message_attack import WIRE, MessageAttack, client_threat
from raysplit.channels.channel import Channel
from raysplit.channels.hooks import MessageHook
from raysplit.channels.message import Message
from raysplit.errors import ScenarioError
from raysplit.parts.part import part
from raysplit.protocols.buffered import BufferedSplitFed
from raysplit.protocols.cycle_sl import CycleSfl
from raysplit.protocols.loss_drop import AsyncSplitFed
from raysplit.protocols.minibatch_sfl import MiniBatchSfl
from raysplit.protocols.parallel_sl import ParallelSl
from raysplit.protocols.sglr import Sglr
from raysplit.protocols.split_learning import SplitLearning
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.protocols.splitfed_v3 import SplitFedV3
from raysplit.training.failures import ClientFailure
from tests.toys import play, toy

BY_CLIENTS = [
    SmashedNoise(),
    SmashedAscent(),
    SmashedAscent(direction="sign"),
    SmashedTailored(),
    SmashedTailored(gamma="min_max"),
    SmashedTailored(shift=True, perturbation="sign"),
    FeatureReplacement(),
    WireLabelFlip(),
    WireLabelFlip(to="random", share=0.5),
    Misalignment(),
    SmashedBackdoor(),
]
BY_SERVER = [ServerTampering(), ServerTampering("noise"), ServerSteering(), ServerSteering("zero", victims=(1, 4))]
PROTOCOLS = [
    SplitFedV1(),
    SplitFedV2(),
    SplitFedV2(order="client_major"),
    SplitFedV3(),
    SplitLearning(),
    SplitLearning(schedule="minibatch"),
    ParallelSl(),
    MiniBatchSfl(),
    Sglr(),
    CycleSfl(),
    BufferedSplitFed(buffer=3),
    SplitFedV1(reading="gradients"),
    SplitFedV1(as_published="thapa2022"),
    SplitFedV2("client_major", as_published="thapa2022"),
    SplitLearning(as_published="slperf"),
]


class Ear(MessageHook):
    party = "clients"
    channels = WIRE

    def __init__(self):
        self.heard = {}

    def observe(self, message, _):
        labels = None if message.labels is None else message.labels.clone()
        key = (message.channel, message.round, message.client, message.step)
        self.heard[key] = replace(message, tensor=message.tensor.clone(), labels=labels)


def lied(attack, protocol=None, **changes):
    return toy(protocol or SplitFedV2(), **{"cohort": Cohort(6, 0.34, "cohort"), "attack": attack, **changes})


def rows(played):
    return played.tables["attacks"].to_pylist()


@pytest.mark.parametrize("attack", BY_CLIENTS, ids=repr)
def test_clients_lie_from_their_round_on_and_only_the_malicious(attack):
    scenario = lied(Scheduled(attack, start_round=2))
    honest, ear = Ear(), Ear()
    play(scenario.replace(attack=None), hooks=(honest,))
    played = play(scenario, hooks=(ear,))
    [row] = rows(played)
    assert row["round"] == 2 and row["m"] == 2 and row["attack"] == type(attack).__name__ and row["messages"] > 0
    assert [row["attacked"] for row in played.tables["rounds"].to_pylist()] == [False, True]
    malicious = {row["client"] for row in played.tables["clients"].to_pylist() if row["malicious"]}
    assert len(malicious) == 2
    for key, message in honest.heard.items():
        if key[1] == 1:
            assert message.tensor.equal(ear.heard[key].tensor)
            assert message.labels is None or message.labels.equal(ear.heard[key].labels)
        if key[0] is Channel.SMASHED and key[2] not in malicious:
            assert message.labels.equal(ear.heard[key].labels), "no honest label was touched"
    first = [key for key in honest.heard if key[:2] == (Channel.SMASHED, 2) and key[3] == 0]
    for key in first:  # before the server has learned anything odd, honest clients send what they always sent
        same = message_equal(honest.heard[key], ear.heard[key])
        assert same == (key[2] not in malicious or isinstance(attack, SmashedAscent))


def message_equal(one, other):
    return one.tensor.equal(other.tensor) and one.labels.equal(other.labels)


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=repr)
@pytest.mark.parametrize("attack", [SmashedAscent(), SmashedBackdoor(share=1.0), ServerSteering()], ids=repr)
def test_under_every_protocol_of_clients_and_a_server(attack, protocol):
    scenario = lied(attack, protocol)
    played = play(scenario)
    assert played.digest != play(scenario.replace(attack=None)).digest
    assert [row["attack"] for row in rows(played)] == [type(attack).__name__] * 2
    assert any((row["relative_change"] or 0) > 0 for row in rows(played))
    assert play(scenario).digest == played.digest


@pytest.mark.parametrize("protocol", [SplitFedV1(), SplitFedV2(), SplitLearning()], ids=repr)
def test_bytes_are_counted_as_ever(protocol):
    scenario = lied(CompositeAttack((SmashedNoise(), ServerTampering("scale", 2.0))), protocol)
    tampered, honest = play(scenario), play(scenario.replace(attack=None))
    assert tampered.tables["channels"] == honest.tables["channels"]
    assert [row["attack"] for row in rows(tampered)] == ["SmashedNoise", "ServerTampering"] * 2


@pytest.mark.parametrize("attack", BY_SERVER, ids=repr)
def test_a_main_server_lies_without_malicious_clients(attack):
    ear = Ear()
    played = play(lied(attack, SplitFedV1(), cohort=Cohort(6)), hooks=(ear,))
    assert [row["m"] for row in rows(played)] == [0, 0]
    steps = sum(row["steps"] for row in played.tables["clients"].to_pylist() if row["round"] == 1)
    assert rows(played)[0]["messages"] <= steps
    if getattr(attack, "victims", None) is None:
        assert rows(played)[0]["messages"] == steps


def test_a_server_tampers_with_its_victims_alone():
    honest, ear = Ear(), Ear()
    scenario = lied(ServerTampering("flip", 3.0, victims=(2,)), SplitFedV1(), training__rounds=1)
    play(scenario.replace(attack=None), hooks=(honest,))
    play(scenario, hooks=(ear,))
    for key, message in honest.heard.items():
        got = ear.heard[key].tensor
        if key[0] is Channel.CUT_GRADIENTS and key[2] == 2 and key[3] == 0:
            assert got.equal(-3.0 * message.tensor)
        elif key[2] != 2:
            assert got.equal(message.tensor)


@pytest.mark.parametrize("protocol", [SplitFedV1(u_shaped=True), SplitFedV2(u_shaped=True)], ids=repr)
@pytest.mark.parametrize("kind", ["flip", "scale", "noise", "zero"])
def test_u_shapes_let_clients_tamper_with_gradients(protocol, kind):
    scenario = lied(FeatureGradientTampering(kind, 2.0), protocol, cut="V1", tail="fc1")
    played = play(scenario)
    assert played.digest != play(scenario.replace(attack=None)).digest
    change = {"flip": 3.0, "scale": 1.0, "zero": 1.0, "noise": 5**0.5}[kind]
    assert rows(played)[0]["relative_change"] == pytest.approx(change, rel=0.2 if kind == "noise" else 1e-5)
    features = scenario.replace(attack=ServerTampering("zero", channel="features"))
    assert play(features).digest != played.digest


def test_attacks_in_line_each_get_what_the_one_before_sent():
    scenario = lied(CompositeAttack((Misalignment(), Misalignment())), training__rounds=1)
    twice, honest = play(scenario), play(scenario.replace(attack=None))
    far = max(float((twice.named[name] - honest.named[name]).abs().max()) for name in twice.named)
    assert far < 1e-5, "mirrored twice is not mirrored"


def test_with_an_attack_on_updates_and_a_rule():
    scenario = lied(CompositeAttack((SmashedNoise(), SignFlip(start_round=2))), defense=TrimmedMean())
    found = sorted((row["round"], row["attack"]) for row in rows(play(scenario)))
    assert found == [(1, "SmashedNoise"), (2, "SignFlip"), (2, "SmashedNoise")]


@part
class Rude(MessageAttack):
    """Does what an attack must not: ``how``."""

    how: str = "write"
    start_round: int = 1

    @property
    def threat_model(self):
        return client_threat(Channel.SMASHED)

    def alter(self, message: Message, view) -> Message:
        if self.how == "write":
            message.tensor.mul_(2)
            return message
        if self.how == "shape":
            return replace(message, tensor=message.tensor[:, :1])
        if self.how == "type":
            return replace(message, tensor=message.tensor.double())
        if self.how == "unlabelled":
            return replace(message, labels=None)
        if self.how == "outside":
            return replace(message, labels=message.labels + 5)
        return replace(message, tensor=(message.tensor * 2).contiguous(memory_format=torch.contiguous_format))


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("write", "wrote into the message"),
        ("shape", "must return a tensor like the one it got"),
        ("type", "must return a tensor like the one it got"),
        ("unlabelled", "as many labels as it got"),
        ("outside", "labels outside of 0 to 4"),
    ],
)
def test_an_attack_is_held_to_its_contract(how, words):
    with pytest.raises(ClientFailure, match=words):
        play(lied(Rude(how)))


def test_what_is_sent_is_laid_out_as_the_original():
    class Look(MessageHook):
        party = "clients"
        channels = WIRE

        def __init__(self):
            self.strides = []

        def observe(self, message, labels):
            self.strides.append((message.channel, message.client, message.step, message.tensor.stride()))

    scenario = lied(Rude("layout"), SplitFedV1(), cut="V1", training__rounds=1)
    lying, honest = Look(), Look()
    play(scenario, hooks=(lying,))
    play(scenario.replace(attack=None), hooks=(honest,))
    assert lying.strides == honest.strides and len(honest.strides) > 6


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: lied(WireLabelFlip(), SplitFedV2(u_shaped=True), tail="fc1"), "never leave their clients"),
        (lambda: lied(SmashedNoise(), AsyncSplitFed()), "kept from earlier rounds"),
        (lambda: lied(SmashedAscent(), training__batch_size=None), "one step a round"),
        (lambda: lied(SmashedNoise(), cohort=Cohort(6)), "needs malicious clients"),
        (lambda: lied(FeatureGradientTampering()), "names the channel 'feature_gradients'"),
        (lambda: lied(ServerTampering(channel="features")), "names the channel 'features'"),
        (lambda: SmashedNoise(scale=0), "must be above 0"),
        (lambda: SmashedNoise(start_round=0), "counts rounds from 1"),
        (lambda: FeatureReplacement(share=1.5), "at most 1"),
        (lambda: SmashedBackdoor(share=1.5), "at most 1"),
        (lambda: ServerSteering(victims=()), "client ids from 0 on"),
        (lambda: WireLabelFlip(to=-1), "a class from 0 on"),
    ],
)
def test_what_cannot_be(make, words):
    with pytest.raises(ScenarioError, match=words):
        make()
