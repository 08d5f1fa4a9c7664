"""Message hooks: who listens changes nothing, who changes a message changes the result, and a failure says whose it
was."""

from dataclasses import replace

import pytest
import torch

from raysplit.channels.channel import Channel, sent_by
from raysplit.channels.hooks import MessageHook
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.split_learning import SplitLearning
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.training.failures import ClientFailure
from tests.engine.faults import FaultyClients
from tests.toys import play, toy

WIRE = sent_by("clients", to="main_server") | sent_by("main_server", to="clients")
SPLIT = [
    (SplitFedV1(), "V1", None),
    (SplitFedV2(), "V2", None),
    (SplitLearning(), "V3", None),
    (SplitFedV2(u_shaped=True), "V1", "fc1"),
    (SplitFedV1(u_shaped=True), "V1", "conv2"),
]


class Listener(MessageHook):
    def __init__(self, channels=WIRE, party="clients"):
        self.channels, self.party = channels, party
        self.heard = []

    def observe(self, message, labels):
        self.heard.append(replace(message, tensor=message.tensor.clone()))


class Scaler(Listener):
    def change(self, message, labels):
        return replace(message, tensor=message.tensor * 1.5)


class MaliciousClient(Listener):
    def change(self, message, labels):
        return replace(message, labels=(message.labels + 1) % 5)


@pytest.mark.parametrize("party", ["clients", "main_server"])
@pytest.mark.parametrize("protocol,cut,tail", SPLIT)
def test_a_hook_that_listens_hears_every_message_and_changes_no_bit(protocol, cut, tail, party):
    scenario = toy(protocol, cut, tail)
    hook = Listener(party=party)
    played = play(scenario, hooks=(hook,))
    assert played.digest == play(scenario).digest
    heard = {(m.channel, m.round, m.client, m.step) for m in hook.heard}
    assert len(heard) == len(hook.heard), "none twice"
    channels = WIRE if protocol.u_shaped else {Channel.SMASHED, Channel.CUT_GRADIENTS}
    steps = {row["client"]: row["steps"] for row in played.tables["clients"].to_pylist()}
    assert heard == {(c, r, k, s) for c in channels for r in (1, 2) for k in range(6) for s in range(steps[k])}
    assert played.messages_on()["smashed"] == sum(steps.values())


@pytest.mark.parametrize("protocol,cut,tail", SPLIT)
def test_labels_travel_with_smashed_data_unless_u_shaped(protocol, cut, tail):
    hook = Listener(frozenset({Channel.SMASHED}))
    scenario = toy(protocol, cut, tail)
    play(scenario, hooks=(hook,))
    for message in hook.heard:
        assert (message.labels is None) == protocol.u_shaped
        if not protocol.u_shaped:
            assert len(message.labels) == len(message.tensor)
            assert set(message.labels.tolist()) <= set(scenario.population.open().train(message.client).y.tolist())


@pytest.mark.parametrize("party", ["clients", "main_server"])
@pytest.mark.parametrize("channel", sorted(WIRE))
def test_a_hook_that_changes_a_channel_changes_the_result(channel, party):
    scenario = toy(SplitFedV2(u_shaped=True), "V1", "fc1")
    played = play(scenario, hooks=(Scaler(frozenset({channel}), party),))
    assert played.digest != play(scenario).digest


def test_a_hook_may_change_labels():
    scenario = toy(SplitFedV2())
    played = play(scenario, hooks=(MaliciousClient(frozenset({Channel.SMASHED})),))
    assert played.digest != play(scenario).digest


def test_hooks_stand_in_line():
    """A listener behind a scaler hears what the scaler sent on."""
    before, after = Listener(frozenset({Channel.SMASHED})), Listener(frozenset({Channel.SMASHED}))
    play(toy(SplitFedV1(), training__rounds=1), hooks=(before, Scaler(frozenset({Channel.SMASHED})), after))
    assert all((one.tensor * 1.5).equal(two.tensor) for one, two in zip(before.heard, after.heard, strict=True))


def test_smashed_data_and_cut_gradients_have_one_row_a_sample_and_no_graph():
    hook = Listener()
    play(toy(SplitFedV1(), "V2", training__rounds=1), hooks=(hook,))
    for message in hook.heard:
        assert message.tensor.shape[1:] == (4, 2, 2) and message.tensor.dtype == torch.float32
        assert not message.tensor.requires_grad


@pytest.mark.parametrize("protocol", [FedAvg(), SplitFedV1(), SplitFedV2(), SplitLearning()], ids=repr)
def test_a_failure_inside_a_client_says_in_which_round_and_whose(tmp_path, protocol):
    (tmp_path / "armed").touch()
    population = FaultyClients(6, folder=str(tmp_path), client=3, fault="raise")
    with pytest.raises(ClientFailure) as caught:
        play(toy(protocol, population=population))
    assert (caught.value.round, caught.value.client) == (1, 3)
    assert str(caught.value) == "round 1, client 3, on this process: ValueError: these samples are cursed"
    assert isinstance(caught.value.__cause__, ValueError)


class Breaker(Listener):
    def change(self, message, labels):
        if message.client == 2:
            raise ArithmeticError("a bad reply")
        return message


def test_a_failure_on_a_reply_is_laid_at_the_door_of_the_client_who_got_it():
    hook = Breaker(frozenset({Channel.CUT_GRADIENTS}))
    with pytest.raises(ClientFailure) as caught:
        play(toy(SplitFedV1()), hooks=(hook,))
    assert caught.value.client == 2 and "a bad reply" in str(caught.value)
