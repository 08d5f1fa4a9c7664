"""What becomes of optimiser states and learning rates between rounds."""

import math

import pytest
import torch

from raysplit.errors import ScenarioError
from raysplit.models.network import build
from raysplit.population.cohort import Cohort
from raysplit.protocols.centralized import Centralized
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.split_learning import SplitLearning
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.training import (
    Adam,
    CosineDecay,
    FedOpt,
    Sgd,
    StepDecay,
    Training,
    load_optimizer_state,
    optimizer_state,
)
from tests.toys import ToyCnn, distance, play, toy


@pytest.mark.parametrize("spec", [Sgd(momentum=0.9), Adam()], ids=repr)
def test_an_optimisers_state_goes_out_and_in_again_bit_for_bit(spec):
    def network():
        return build(ToyCnn(), 42)

    def step(net, optimizer, turn):
        generator = torch.Generator().manual_seed(turn)
        optimizer.zero_grad()
        net(torch.rand(3, 1, 8, 8, generator=generator)).square().mean().backward()
        optimizer.step()

    straight = network()
    optimizer = spec.optimizer(list(straight.parameters()), 0.01)
    for turn in range(4):
        step(straight, optimizer, turn)
    broken = network()
    first = spec.optimizer(list(broken.parameters()), 0.01)
    for turn in range(2):
        step(broken, first, turn)
    second = spec.optimizer(list(broken.parameters()), 0.01)
    flat = {name: tensor.contiguous() for name, tensor in optimizer_state(first).items()}  # as a checkpoint keeps it
    load_optimizer_state(second, flat)
    for turn in range(2, 4):
        step(broken, second, turn)
    for one, other in zip(straight.parameters(), broken.parameters(), strict=True):
        assert one.equal(other)
    load_optimizer_state(second, None)
    assert optimizer_state(second) == {}


def test_a_taken_state_is_a_copy():
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = Sgd(momentum=0.5).optimizer([parameter], 0.1)
    parameter.grad = torch.ones(3)
    optimizer.step()
    taken = optimizer_state(optimizer)
    parameter.grad = torch.full((3,), 7.0)
    optimizer.step()
    assert taken["0.momentum_buffer"].tolist() == [1.0, 1.0, 1.0]


def test_a_kept_state_waits_for_its_client_until_it_is_drawn_again():
    """Cohorts of 2 out of 4: whoever was ever drawn has a state, and it is untouched while others train."""
    scenario = toy(
        FedAvg(),
        clients=4,
        cohort=Cohort(2),
        training__client_state="per_client",
        training__optimizer=Adam(),
        training__rounds=6,
    )
    played = play(scenario)
    drawn = played.tables["clients"].select(["round", "client", "steps"]).to_pylist()
    for client, state in played.state.client_states.items():
        steps = sum(row["steps"] for row in drawn if row["client"] == client)
        assert float(state["0.step"]) == steps, "Adam counts its steps over all rounds of this client"
    assert set(played.state.client_states) == {row["client"] for row in drawn}
    assert len(drawn) == 12


def test_fresh_kept_and_travelling_states_train_differently():
    runs = {
        policy: play(toy(SplitLearning(), training__client_state=policy, training__optimizer=Adam()))
        for policy in ("fresh", "per_client", "travels")
    }
    assert len({run.digest for run in runs.values()}) == 3
    assert not runs["fresh"].state.client_states and not runs["travels"].state.client_states


def test_a_state_that_travels_makes_split_learning_on_equal_terms_centralised():
    """Both optimisers go on from client to client: one party that sees the clients' samples one after another."""
    scenario = toy(
        SplitLearning(ring="fixed"),
        training__client_state="travels",
        training__batch_size=None,
        training__rounds=1,
        training__optimizer=Adam(),
        training__precision="float64",
    )
    network = build(scenario.model, scenario.seed, torch.float64)
    optimizer = torch.optim.Adam(network.parameters(), lr=scenario.training.lr)
    for client in range(6):
        x, y = scenario.population.open().train(client)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(x.double() / 255), y).backward()
        optimizer.step()
    assert distance(play(scenario).named, network.state_dict()) < 1e-12


def test_the_shared_servers_state_lives_on_unless_told_otherwise():
    kept = play(toy(SplitFedV2(), training__rounds=3, training__optimizer=Adam()))
    fresh = play(toy(SplitFedV2(), training__rounds=3, training__optimizer=Adam(), training__server_state="fresh"))
    steps = sum(kept.tables["clients"].column("steps").to_pylist())
    assert float(kept.state.server_state["0.step"]) == steps
    assert float(fresh.state.server_state["0.step"]) == steps / 3
    assert kept.digest != fresh.digest


def test_the_server_may_have_an_optimiser_and_a_rate_of_its_own():
    played = play(
        toy(SplitFedV2(), training__optimizer=Sgd(), training__server_optimizer=Adam(), training__server_lr=0.001)
    )
    assert "0.exp_avg" in played.state.server_state
    assert played.digest != play(toy(SplitFedV2(), training__optimizer=Sgd(), training__server_optimizer=Adam())).digest


def test_the_aggregates_optimiser_is_kept_from_round_to_round():
    played = play(toy(SplitFedV1(), training__aggregate=FedOpt(Adam(), lr=0.01), training__rounds=3))
    assert float(played.state.fed_states["client"]["0.step"]) == 3
    assert float(played.state.fed_states["server"]["0.step"]) == 3
    assert not play(toy(SplitFedV1())).state.fed_states["client"]


@pytest.mark.parametrize(
    "protocol,changes,words",
    [
        (FedAvg(), {"training__client_state": "travels"}, "needs a protocol with hand-over, but FedAvg has none"),
        (
            SplitFedV1(),
            {"training__server_state": "persistent"},
            "needs one shared server portion, but SplitFedV1 has replicas",
        ),
        (SplitLearning(), {"training__aggregate": FedOpt()}, "SplitLearning aggregates nothing"),
        (Centralized(), {"training__aggregate": FedOpt()}, "Centralized aggregates nothing"),
    ],
)
def test_a_policy_that_a_protocol_cannot_follow_is_refused(protocol, changes, words):
    with pytest.raises(ScenarioError, match=words):
        toy(protocol, **changes)


def test_schedules_scale_both_rates_from_round_one():
    training = Training(rounds=5, lr=0.8, server_lr=0.4, schedule=StepDecay(every=2, factor_each=0.5))
    assert [training.client_lr_at(r) for r in range(1, 6)] == [0.8, 0.8, 0.4, 0.4, 0.2]
    assert [training.server_lr_at(r) for r in range(1, 6)] == [0.4, 0.4, 0.2, 0.2, 0.1]
    cosine = Training(rounds=5, lr=1.0, schedule=CosineDecay(floor=0.2))
    expected = [0.2 + 0.8 * 0.5 * (1 + math.cos(math.pi * r / 4)) for r in range(5)]
    assert [cosine.client_lr_at(r) for r in range(1, 6)] == pytest.approx(expected)
    assert cosine.client_lr_at(1) == 1.0 and cosine.server_lr_at(5) == pytest.approx(0.2)
    assert Training(rounds=1, lr=0.1, schedule=CosineDecay()).client_lr_at(1) == 0.1


def test_a_rate_that_a_schedule_brings_to_zero_stops_training_there():
    """The second round has rate 0: the model after two rounds is the model after one."""
    stopped = play(toy(SplitFedV2(), training__schedule=StepDecay(every=1, factor_each=0.0)))
    one_round = play(toy(SplitFedV2(), training__rounds=1))
    # averaging equal portions rounds: the client portion may differ in its last bits
    assert distance(stopped.named, one_round.named) < 1e-7
    assert distance(play(toy(SplitFedV2())).named, one_round.named) > 1e-3
