"""Listeners, hooks with a memory, gradient rules and failing server portions, on the local engine."""

import re

import pytest
import torch

from raysplit.engine.local import LocalEngine
from raysplit.protocols.cycle_sl import CycleSfl
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.split_learning import SplitLearning
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.protocols.vertical_split import VerticalSplit
from raysplit.training.failures import ClientFailure
from raysplit.training.gradient_rules import MeanGradient
from tests.engine.attached import BrokenBody, Clipped, CollectSmashed, CountMessages
from tests.toys import play, toy

PROTOCOLS = [
    (SplitFedV1(), None),
    (SplitFedV2(), None),
    (SplitFedV2(u_shaped=True), "fc1"),
    (SplitLearning(), None),
    (CycleSfl(), None),
]


@pytest.mark.parametrize("protocol,tail", PROTOCOLS, ids=repr)
def test_a_listener_at_the_main_server_collects_every_batch_of_every_round(protocol, tail):
    scenario = toy(protocol, "V1", tail)
    played = play(scenario, hooks=(CollectSmashed(),))
    assert played.digest == play(scenario).digest
    population = scenario.population.open()
    for round in (1, 2):
        for client in range(6):
            noted = [o.tensors for o in played.observations if (o.round, o.client) == (round, client)]
            own = population.train(client).y
            assert sum(len(tensors["z"]) for tensors in noted) == len(own)
            if not protocol.u_shaped:
                assert sorted(torch.cat([tensors["y"] for tensors in noted]).tolist()) == sorted(own.tolist())
            else:
                assert all("y" not in tensors for tensors in noted), "labels stay with their clients"


def test_a_listener_hears_the_parties_of_a_site_group_too():
    played = play(toy(VerticalSplit(2), "V1"), hooks=(CollectSmashed(),))
    assert len(played.observations) == sum(played.messages_on(round)["smashed"] for round in (1, 2))


def test_a_hook_finds_in_the_next_round_what_it_returned():
    scenario = toy(SplitFedV2())
    played = play(scenario, hooks=(CountMessages(),))
    assert int(played.state.memory["server/count"]["seen"]) == sum(played.messages_on(r)["smashed"] for r in (1, 2))
    assert played.digest == play(scenario).digest


@pytest.mark.parametrize("protocol,tail", [*PROTOCOLS, (FedAvg(), None)], ids=repr)
def test_a_users_gradient_rule_makes_the_clients_gradients(protocol, tail):
    scenario = toy(protocol, "V1", tail, training__rounds=1)
    same = play(scenario, LocalEngine(scenario, gradient_rule=MeanGradient()))
    assert same.digest == play(scenario).digest
    wide, narrow = (play(scenario, LocalEngine(scenario, gradient_rule=Clipped(norm))) for norm in (1e9, 1e-3))
    assert wide.digest == same.digest, "a bound that nothing reaches changes no bit"
    assert narrow.digest != same.digest


@pytest.mark.parametrize("protocol", [SplitFedV1(), SplitFedV2()], ids=repr)
def test_a_failure_in_the_server_portion_says_whose_step_where_and_in_which_line(protocol):
    with pytest.raises(ClientFailure) as caught:
        play(toy(protocol, model=BrokenBody("V2")))
    assert re.fullmatch(
        r"round 1, client \d, at the main server on this process: attached.py:\d+: KeyError: 'b'", str(caught.value)
    )
    assert isinstance(caught.value.__cause__, KeyError)
