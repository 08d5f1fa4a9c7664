"""What becomes of optimiser states and learning rates between rounds."""

import math

import pytest
import torch

from raysplit.errors import ScenarioError
from raysplit.memory.memory import by_client
from raysplit.models.network import build, cut
from raysplit.population.selection.cohort import Cohort
from raysplit.protocols.centralized import Centralized
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.split_learning import SplitLearning
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.training.optimizers import Adam, Sgd, copied_state
from raysplit.training.parties import ServerSlot
from raysplit.training.settings import CosineDecay, FedOpt, StepDecay, Training
from tests.toys import ToyCnn, distance, play, toy

SPECS = {
    "sgd": (Sgd(), lambda p: torch.optim.SGD(p, 0.01)),
    "momentum": (Sgd(0.9, 1e-2), lambda p: torch.optim.SGD(p, 0.01, momentum=0.9, weight_decay=1e-2)),
    "nesterov": (Sgd(0.9, nesterov=True), lambda p: torch.optim.SGD(p, 0.01, momentum=0.9, nesterov=True)),
    "adam": (Adam(0.8, 0.99, 1e-6, 1e-2), lambda p: torch.optim.Adam(p, 0.01, (0.8, 0.99), 1e-6, 1e-2)),
}


def gradients(network, turn):
    generator = torch.Generator().manual_seed(turn)
    network.zero_grad()
    network(torch.rand(3, 1, 8, 8, generator=generator)).square().mean().backward()
    return [parameter.grad for parameter in network.parameters()]


def step(spec, network, state, turn):
    found = gradients(network, turn)
    with torch.no_grad():
        spec.step(list(network.parameters()), found, state, 0.01)


@pytest.mark.parametrize(("spec", "make"), SPECS.values(), ids=SPECS)
def test_a_step_is_torchs_bit_for_bit(spec, make):
    ours, plain, state = build(ToyCnn(), 42), build(ToyCnn(), 42), {}
    optimizer = make(list(plain.parameters()))
    for turn in range(4):
        step(spec, ours, state, turn)
        gradients(plain, turn)
        optimizer.step()
    for one, other in zip(ours.parameters(), plain.parameters(), strict=True):
        assert one.equal(other)


@pytest.mark.parametrize("spec", [Sgd(momentum=0.9), Adam()], ids=repr)
def test_a_parameter_that_no_loss_reached_stays_and_remembers_nothing(spec):
    weights, state = [torch.ones(2), torch.ones(2), torch.ones(2)], {}
    spec.step(weights, [None, torch.ones(2), None], state, 0.1)
    assert [bool((w == 1).all()) for w in weights] == [True, False, True]
    assert {name.split(".")[0] for name in state} == {"1"}


@pytest.mark.parametrize("spec", [Sgd(momentum=0.9), Adam()], ids=repr)
def test_an_optimisers_state_goes_out_and_in_again_bit_for_bit(spec):
    straight, state = build(ToyCnn(), 42), {}
    for turn in range(4):
        step(spec, straight, state, turn)
    broken, first = build(ToyCnn(), 42), {}
    for turn in range(2):
        step(spec, broken, first, turn)
    flat = {name: tensor.contiguous() for name, tensor in first.items()}  # as a checkpoint keeps it
    second = copied_state(flat, list(broken.parameters()))
    for turn in range(2, 4):
        step(spec, broken, second, turn)
    for one, other in zip(straight.parameters(), broken.parameters(), strict=True):
        assert one.equal(other)
    assert copied_state(None, list(broken.parameters())) == {}


def test_a_seats_state_is_a_copy():
    model = ToyCnn("V1")
    network = build(model, 42)
    y = torch.zeros(2, dtype=torch.long)
    z = network.get_submodule("conv1")(torch.rand(2, 1, 8, 8)).detach()
    slot = ServerSlot(cut(network, model, True, False), Training(1, 0.1, optimizer=Sgd(momentum=0.5)))
    slot.enter(slot.flat.vector.clone(), None, 0.1)
    slot.whole_step(z, y)
    taken = slot.state()
    kept = {name: tensor.clone() for name, tensor in taken.items()}
    slot.whole_step(z, y)
    assert taken and all(taken[name].equal(kept[name]) for name in kept)
    assert any(not tensor.equal(kept[name]) for name, tensor in slot.state().items())


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
    sampled = played.tables["clients"].select(["round", "client", "steps"]).to_pylist()
    for client, state in by_client(played.state.memory, "optimizer").items():
        steps = sum(row["steps"] for row in sampled if row["client"] == client)
        assert float(state["0.step"]) == steps, "Adam counts its steps over all rounds of this client"
    assert set(by_client(played.state.memory, "optimizer")) == {row["client"] for row in sampled}
    assert len(sampled) == 12


def test_fresh_kept_and_travelling_states_train_differently():
    runs = {
        policy: play(toy(SplitLearning(), training__client_state=policy, training__optimizer=Adam()))
        for policy in ("fresh", "per_client", "travels")
    }
    assert len({run.digest for run in runs.values()}) == 3
    assert not by_client(runs["fresh"].state.memory, "optimizer") and not by_client(
        runs["travels"].state.memory, "optimizer"
    )


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
    assert float(kept.state.memory.get("server/optimizer", {})["0.step"]) == steps
    assert float(fresh.state.memory.get("server/optimizer", {})["0.step"]) == steps / 3
    assert kept.digest != fresh.digest


def test_the_server_may_have_an_optimiser_and_a_rate_of_its_own():
    played = play(
        toy(SplitFedV2(), training__optimizer=Sgd(), training__server_optimizer=Adam(), training__server_lr=0.001)
    )
    assert "0.exp_avg" in played.state.memory.get("server/optimizer", {})
    assert played.digest != play(toy(SplitFedV2(), training__optimizer=Sgd(), training__server_optimizer=Adam())).digest


def test_the_aggregates_optimiser_is_kept_from_round_to_round():
    played = play(toy(SplitFedV1(), training__aggregate=FedOpt(Adam(), lr=0.01), training__rounds=3))
    assert float(played.state.memory.get("fed/optimizer/updates", {})["0.step"]) == 3
    assert float(played.state.memory.get("fed/optimizer/server_updates", {})["0.step"]) == 3
    assert not play(toy(SplitFedV1())).state.memory.get("fed/optimizer/updates", {})


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
