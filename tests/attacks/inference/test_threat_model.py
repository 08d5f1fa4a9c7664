"""Threat models are enforced: no attack learns through a channel or a fact that it does not declare or the adversary
does not have."""

from __future__ import annotations

import pytest
import torch

from raysplit import (
    Adversary,
    FedAvg,
    Fora,
    ParallelSl,
    QueryDecoder,
    QueryFree,
    Sdar,
    SplitFedV1,
    SplitFedV2,
    SplitLearning,
    UnSplit,
    WhiteBoxInversion,
)
from raysplit.attacks.inference.inference_attack import (
    InferenceAttack,
    Knowledge,
    Observed,
    Reconstruction,
    check_adversary,
)
from raysplit.attacks.inference.target import Auxiliary, Target
from raysplit.channels.channel import Channel
from raysplit.errors import ScenarioError
from raysplit.parts.part import part

ATTACKS = [
    UnSplit(rounds=1, input_steps=1, model_steps=1),
    UnSplit(rounds=1, input_steps=1, model_steps=1, clones="in_turn"),
    WhiteBoxInversion(steps=1),
    QueryDecoder(queries=4),
    QueryDecoder(queries=4, inputs="noise"),
    QueryFree(epochs=1, steps=1),
    Sdar(steps=1, batch_size=2, width=2),
    Fora(steps=1, batch_size=2, width=2),
]


def linear_target(budget: int = 100) -> Target:
    torch.manual_seed(0)
    head, body = (
        torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3)),
        torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(72, 3)),
    )
    auxiliary = Auxiliary(torch.rand(12, 1, 8, 8), torch.randint(3, (12,)))
    return Target(
        1,
        (1, 8, 8),
        3,
        0.0,
        1.0,
        lambda _: torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3)),
        head,
        body,
        auxiliary,
        budget,
    )


def seen(attack: InferenceAttack, n: int = 3, **messages: torch.Tensor) -> Observed:
    by_channel = {Channel(name): tensor for name, tensor in messages.items()}
    return Observed(attack, by_channel, torch.arange(n), torch.ones(n, dtype=torch.int64))


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: type(attack).__name__)
def test_an_attack_runs_on_what_it_declares_and_on_nothing_less(attack):
    target = linear_target()
    z = target.client(torch.rand(3, 1, 8, 8)).detach()
    found = attack.infer(seen(attack, smashed=z), Knowledge(attack, target))
    assert found.inputs is not None and found.inputs.shape == (3, 1, 8, 8)
    whole = Adversary(knows=tuple(sorted(attack.needs)))
    check_adversary(attack, whole, SplitFedV2())
    for fact in attack.needs - {"server_weights"}:  # the main server has its own
        less = Adversary(knows=tuple(sorted(attack.needs - {fact})))
        with pytest.raises(ScenarioError, match=f"needs to know '{fact}'"):
            check_adversary(attack, less, SplitFedV2())
    for channel in attack.reads:
        with pytest.raises(ScenarioError, match=f"reads '{channel.value}'"):
            check_adversary(attack, Adversary(("fed_server",), whole.knows), SplitFedV2())
        with pytest.raises(ScenarioError, match="not observed"):
            attack.infer(seen(attack), Knowledge(attack, target))


@part
class Greedy(InferenceAttack):
    """Takes ``what`` without saying so."""

    what: str = "labels"
    goal: str = "inputs"

    @property
    def reads(self) -> frozenset[Channel]:
        return frozenset({Channel.SMASHED})

    def infer(self, observed: Observed, knowledge: Knowledge) -> Reconstruction:
        ways = {
            "labels": observed.labels,
            "cut_gradients": lambda: observed.on(Channel.CUT_GRADIENTS),
            "architecture": knowledge.untrained_portion,
            "client_weights": knowledge.client_portion,
            "server_weights": lambda: knowledge.finish(torch.zeros(1)),
            "features": lambda: knowledge.features(torch.zeros(1)),
            "auxiliary_data": knowledge.auxiliary,
            "auxiliary_inputs": knowledge.auxiliary_inputs,
            "updates": lambda: observed.on(Channel.UPDATES),
            "an update's names": lambda: knowledge.named_update(torch.zeros(1)),
            "training_settings": knowledge.local_training,
            "candidates": knowledge.candidates,
            "a whole model": knowledge.untrained_model,
            "queries": lambda: knowledge.query(torch.zeros(1, 1, 8, 8)),
            "server_architecture": knowledge.untrained_server_portion,
            "server_queries": lambda: knowledge.ask_server(torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64)),
        }
        ways[self.what]()
        raise AssertionError("it got it")


@pytest.mark.parametrize(
    "what",
    [
        "labels",
        "cut_gradients",
        "architecture",
        "client_weights",
        "server_weights",
        "features",
        "auxiliary_data",
        "auxiliary_inputs",
        "updates",
        "an update's names",
        "training_settings",
        "candidates",
        "a whole model",
        "queries",
        "server_architecture",
        "server_queries",
    ],
)
def test_an_attack_that_takes_more_than_it_declares_is_caught(what):
    attack = Greedy(what)
    observed = Observed(
        attack,
        {Channel.SMASHED: torch.zeros(1, 2), Channel.CUT_GRADIENTS: torch.zeros(1, 2)},
        torch.zeros(1),
        torch.ones(1),
        torch.zeros(1, dtype=torch.int64),
    )
    with pytest.raises(ScenarioError, match="does not declare"):
        attack.infer(observed, Knowledge(attack, linear_target()))


def test_queries_end_with_the_budget():
    attack = QueryDecoder(queries=11)
    with pytest.raises(ScenarioError, match="asks the client portion about 11 inputs, but the budget is 10"):
        attack.infer(seen(attack), Knowledge(attack, linear_target(budget=10)))


def test_collusion_is_a_union_of_channels_and_facts():
    server, fed, client = Adversary(), Adversary(("fed_server",)), Adversary(("client",))
    together = Adversary(("main_server", "client"))
    protocol = SplitFedV1()
    assert server.channels(protocol) >= {Channel.SMASHED, Channel.CUT_GRADIENTS}
    assert Channel.UPDATES not in server.channels(protocol) and Channel.UPDATES in fed.channels(protocol)
    assert not client.channels(protocol)
    assert together.channels(protocol) == server.channels(protocol) | client.channels(protocol)
    assert server.facts(protocol) == {"server_weights"}
    both = {"server_weights", "client_weights", "architecture", "queries", "training_settings", "server_queries"}
    assert together.facts(protocol) == both
    for party in ("main_server", "client"):
        fewer = Adversary(tuple(p for p in together.parties if p != party))
        assert not together.facts(protocol) <= fewer.facts(protocol) or party == "main_server"


def test_one_client_gives_the_main_server_everybodys_weights_where_portions_are_shared_alone():
    attack = WhiteBoxInversion()
    for protocol in (SplitFedV1(), SplitFedV2(), SplitLearning()):
        check_adversary(attack, Adversary(("main_server", "client")), protocol)
    for adversary, protocol in (
        (Adversary(), SplitFedV2()),
        (Adversary(("main_server", "client")), ParallelSl()),
        (Adversary(("main_server", "fed_server")), SplitLearning()),
    ):
        with pytest.raises(ScenarioError, match="needs to know 'client_weights'"):
            check_adversary(attack, adversary, protocol)
    with pytest.raises(ScenarioError, match="holds no channel"):
        check_adversary(attack, Adversary(), FedAvg())
