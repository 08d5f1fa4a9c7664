"""Client portions that never meet: SplitFedV3 and parallel split learning."""

import copy

import pytest
import torch

from raysplit.aggregation.rules.median import Median
from raysplit.attacks.updates.gaussian import GaussianNoise
from raysplit.errors import ScenarioError
from raysplit.models.network import build
from raysplit.population.selection.cohort import Cohort
from raysplit.protocols.parallel_sl import ParallelSl
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.protocols.splitfed_v3 import SplitFedV3
from raysplit.scenario.layout import Layout
from raysplit.training.optimizers import Adam
from raysplit.training.settings import FedOpt
from tests.invariants.plain_loop import OPTIMIZERS, train_client
from tests.invariants.split_loop import BODY
from tests.toys import ToyClients, distance, play, toy

DRAWN = {"clients": 6, "training__rounds": 4, "training__client_state": "fresh", "training__precision": "float64"}


def own_models(played):
    """Client id → the whole model as that client has it."""
    server = played.layout.server.named_tensors(played.state.server)
    return {
        client: {**played.layout.client.named_tensors(portion), **server}
        for client, portion in played.state.client_portions.items()
    }


def cohorts(played):
    rows = played.tables["clients"].select(["round", "client", "samples"]).to_pylist()
    return {round: [r for r in rows if r["round"] == round] for round in sorted({r["round"] for r in rows})}


def by_hand(scenario, sampled, make, average_server):
    """Every client's own whole model, the server's stages averaged after each round or never moved."""
    torch.set_num_threads(1)
    network = build(scenario.model, scenario.seed, scenario.training.dtype)
    body = BODY[scenario.model.cut]
    server = {k: v.clone() for k, v in network.state_dict().items() if k.startswith(body)}
    heads = {}
    for round, rows in sampled.items():
        total = sum(row["samples"] for row in rows)
        averaged = {}
        for row in rows:
            local = copy.deepcopy(network)
            local.load_state_dict({**heads.get(row["client"], local.state_dict()), **server})
            stages = [s for name, s in local.named_children() if average_server or name not in body]
            train_client(local, scenario, round, row["client"], make([p for s in stages for p in s.parameters()], 0.05))
            state = local.state_dict()
            heads[row["client"]] = {k: v.clone() for k, v in state.items() if not k.startswith(body)}
            for name in server:
                averaged[name] = averaged.get(name, 0) + state[name] * (row["samples"] / total)
        server = averaged
    return {client: {**head, **server} for client, head in heads.items()}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("cut", BODY)
def test_sflv3_is_a_plain_loop_with_heads_kept_and_bodies_averaged(cut, optimizer):
    spec, make = OPTIMIZERS[optimizer]
    scenario = toy(SplitFedV3(), cut, cohort=Cohort(3), training__optimizer=spec, **DRAWN)
    played = play(scenario)
    sampled = cohorts(played)
    ids = [row["client"] for rows in sampled.values() for row in rows]
    assert len(ids) > len(set(ids)), "somebody must have come twice"
    expected, found = by_hand(scenario, sampled, make, average_server=True), own_models(played)
    assert found.keys() == expected.keys() == set(ids)
    for client, model in expected.items():
        assert distance(found[client], model) < 1e-12
    assert len({tuple(p.tolist()) for p in played.state.client_portions.values()}) == len(found)


@pytest.mark.parametrize("order", ["interleaved", "client_major"])
def test_parallel_sl_against_a_frozen_server_is_every_client_for_itself(order):
    spec, make = OPTIMIZERS["momentum"]
    scenario = toy(ParallelSl(order), cohort=Cohort(3), training__optimizer=spec, training__server_lr=0, **DRAWN)
    played = play(scenario)
    expected, found = by_hand(scenario, cohorts(played), make, average_server=False), own_models(played)
    for client, model in expected.items():
        assert distance(found[client], model) < 1e-12


@pytest.mark.parametrize(
    "personal,averaged",
    [
        (SplitFedV3(), SplitFedV1()),
        (ParallelSl(), SplitFedV2()),
        (ParallelSl("client_major"), SplitFedV2("client_major")),
    ],
    ids=repr,
)
def test_the_servers_first_round_is_that_of_the_protocol_with_averaging(personal, averaged):
    """All begin alike; after the first averaging they part. With clients that stand still they never do."""

    def server_gap(**changes):
        one, other = play(toy(personal, **changes)), play(toy(averaged, training__client_state="per_client", **changes))
        return float((one.state.server - other.state.server).abs().max())

    assert server_gap(training__rounds=1) == 0
    assert server_gap(training__lr=0, training__server_lr=0.05, training__precision="float64") < 1e-14
    assert server_gap() > 1e-4


def test_the_norm_of_a_round_is_that_of_the_mean_update():
    """In the first round that is what averaging would have made of it."""
    own, averaged = (
        play(toy(p, training__rounds=1, training__precision="float64")) for p in (SplitFedV3(), SplitFedV1())
    )
    norms = [played.tables["rounds"]["update_norm"].to_pylist()[0] for played in (own, averaged)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-12) and norms[0] > 1e-3


@pytest.mark.parametrize(
    "protocol,tail",
    [(SplitFedV3(), None), (ParallelSl(), None), (SplitFedV3(True), "fc1"), (ParallelSl(u_shaped=True), "fc1")],
)
def test_one_client_cannot_tell_whether_portions_meet(protocol, tail):
    shape = {"cut": "V1", "tail": tail, "clients": 1, "population": ToyClients(1, smallest=11), "training__rounds": 3}
    shape["training__client_state"] = "per_client"
    other = SplitFedV1 if isinstance(protocol, SplitFedV3) else SplitFedV2
    averaged = play(toy(other(u_shaped=protocol.u_shaped), **shape))
    alone = play(toy(protocol, **shape))
    assert alone.state.client_portions[0].equal(averaged.state.client)
    assert alone.state.server.equal(averaged.state.server)
    assert alone.tables["evaluations"] == averaged.tables["evaluations"]
    assert alone.tables["rounds"]["update_norm"] == averaged.tables["rounds"]["update_norm"]


@pytest.mark.parametrize("protocol", [SplitFedV3(), ParallelSl()], ids=repr)
def test_a_client_is_judged_with_its_own_portion_and_a_stranger_with_the_initial_one(protocol):
    scenario = toy(protocol, cohort=Cohort(2), training__rounds=2)
    played = play(scenario)
    strangers = set(range(6)) - set(played.state.client_portions)
    assert strangers and played.state.client.equal(played.layout.initial().client)
    server = played.layout.server.named_tensors(played.state.server)
    initial = {**played.layout.client.named_tensors(played.state.client), **server}
    models = {**dict.fromkeys(range(6), initial), **own_models(played)}
    network, loss, count = build(scenario.model, scenario.seed), 0.0, 0
    for client in range(6):
        network.load_state_dict(models[client])
        x, y = scenario.population.open().test(client)
        with torch.no_grad():
            loss += float(torch.nn.functional.cross_entropy(network(x.float() / 255), y, reduction="sum"))
        count += len(y)
    last = played.tables["evaluations"].to_pylist()[-1]
    assert last["loss"] == pytest.approx(loss / count, rel=1e-6)
    assert last["samples"] == count


def test_no_portion_crosses_a_channel_and_an_optimiser_may_step_on_the_replicas():
    assert set(play(toy(ParallelSl())).bytes_on()) == {"smashed", "cut_gradients"}
    assert set(play(toy(SplitFedV3())).bytes_on()) == {"smashed", "cut_gradients", "server_updates"}
    stepped = play(toy(SplitFedV3(), training__aggregate=FedOpt(Adam(), lr=0.01)))
    assert {p for p in stepped.state.memory if p.startswith("fed/optimizer/")} == {"fed/optimizer/server_updates"}
    assert stepped.digest != play(toy(SplitFedV3())).digest


def test_the_digest_covers_every_clients_portion():
    played = play(toy(SplitFedV3()))
    for client in played.state.client_portions:
        changed = copy.deepcopy(played.state.client_portions)
        changed[client][0] = torch.nextafter(changed[client][0], torch.tensor(9.0))
        assert (
            played.layout.digest(
                played.state.remember({f"client/{c}/portion": {"portion": p} for c, p in changed.items()})
            )
            != played.digest
        )


@pytest.mark.parametrize("protocol", [SplitFedV3(), ParallelSl()], ids=repr)
def test_a_loss_of_one_clients_numbers_ends_the_run(protocol):
    assert play(toy(protocol, training__lr=1e30, training__rounds=4)).diverged


@pytest.mark.parametrize(
    "changes,words",
    [
        ({"defense": Median()}, "Median aggregates updates at a fed server, but {} has no updates channel"),
        (
            {"attack": GaussianNoise(), "cohort": Cohort(6, malicious=0.5)},
            "names the channel 'updates', which {} does not have",
        ),
        ({"training__client_state": "travels"}, "needs a protocol with hand-over, but {} has none"),
    ],
)
@pytest.mark.parametrize("protocol", [SplitFedV3(), ParallelSl()], ids=repr)
def test_what_needs_updates_is_refused(protocol, changes, words):
    with pytest.raises(ScenarioError, match=words.format(type(protocol).__name__)):
        toy(protocol, **changes)


def test_an_optimiser_on_the_aggregate_needs_one():
    with pytest.raises(ScenarioError, match="ParallelSl aggregates nothing"):
        toy(ParallelSl(), training__aggregate=FedOpt())


def test_layouts_read_back_what_they_name():
    played = play(toy(SplitFedV3(), "V1"))
    layout = Layout(toy(SplitFedV3(), "V1"))
    back = layout.portions_from(layout.named_portions(played.state))
    assert back.keys() == played.state.client_portions.keys()
    assert all(back[client].equal(portion) for client, portion in played.state.client_portions.items())
