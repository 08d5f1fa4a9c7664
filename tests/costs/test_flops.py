"""FLOPs of a split step, held against torch's own counter on the very steps that a client and the server take."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from raysplit.costs.flops import round_flops
from raysplit.costs.portions import cut_costs
from raysplit.engine.host import Host
from raysplit.models.femnist_cnn import femnist_cnn
from raysplit.protocols.centralized import Centralized
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.split_learning import SplitLearning
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.training.client_step import whole_step
from raysplit.training.gradient_rules import BackwardPass, MeanGradient
from tests.costs.plans import plan_of
from tests.toys import ToyClients, toy

BATCH = 3


def counted(scenario):
    """FLOPs of one step of BATCH samples: the client's and the server's, as torch counts them."""
    host = Host(scenario)
    u_shaped, split = scenario.protocol.u_shaped, scenario.protocol.server != "none"
    client = host.client_slots(1)[0]
    client.enter(client.flat.vector.clone(), None, 0.1)
    x, y = torch.rand(BATCH, 1, 8, 8), torch.zeros(BATCH, dtype=torch.int64)
    at_clients, servers = [], []

    def run(where, function, *arguments):
        with FlopCounterMode(display=False) as counter:
            result = function(*arguments)
        where.append(counter.get_total_flops())
        return result

    if not split:
        run(at_clients, whole_step, client, x, y, MeanGradient())
        return sum(at_clients), 0
    server = host.server_slots(1)[0]
    server.enter(server.flat.vector.clone(), None, 0.1)
    smashed = run(at_clients, client.forward, x)
    z = smashed.detach()
    if u_shaped:
        features = run(servers, server.forward, z)
        gradient, _ = run(at_clients, client.tail_pass, features, y)
        gradient = run(servers, server.backward, gradient)
    else:
        gradient, _ = run(servers, server.whole_step, z, y)
    run(at_clients, MeanGradient().gradients, client, BackwardPass(x, y, smashed, gradient))
    return sum(at_clients), sum(servers)


@pytest.mark.parametrize(
    ("protocol", "cut", "tail"),
    [(FedAvg(), "V2", None)]
    + [(SplitFedV2(), cut, None) for cut in ("V1", "V2", "V3")]
    + [(SplitFedV2(u_shaped=True), *cuts) for cuts in (("V1", "conv2"), ("V1", "fc1"), ("V2", "fc2"))],
    ids=repr,
)
def test_steps_cost_what_torch_counts(protocol, cut, tail):
    scenario = toy(protocol, cut, tail)
    costs = cut_costs(scenario)
    assert (BATCH * costs.client_step, BATCH * costs.body.step) == counted(scenario)


def test_by_hand_where_the_network_is_cut_in_two():
    """conv1: 8·8·3 outputs of 9 multiply-adds; conv2: 4·4·4 of 27; fc1: 16·7; fc2: 7·5."""
    conv1, conv2, fc1, fc2 = 2 * 192 * 9, 2 * 64 * 27, 2 * 112, 2 * 35
    costs = cut_costs(toy(SplitFedV2(), "V2"))
    assert (costs.head.forward, costs.head.backward) == (conv1 + conv2, conv1 + 2 * conv2)
    assert (costs.body.forward, costs.body.backward) == (fc1 + fc2, 2 * (fc1 + fc2))


def test_the_femnist_networks_portions_by_hand():
    conv1, conv2, fc1, fc2 = 2 * 28 * 28 * 16 * 25, 2 * 14 * 14 * 32 * 16 * 25, 2 * 1568 * 512, 2 * 512 * 62
    shape = {"population": ToyClients(4, shape=(1, 28, 28), classes=62), "clients": 4}
    split = cut_costs(toy(SplitFedV2(), model=femnist_cnn("V1"), **shape))
    assert (split.head.forward, split.body.forward, split.tail.forward) == (conv1, conv2 + fc1 + fc2, 0)
    u_shaped = cut_costs(toy(SplitFedV2(u_shaped=True), model=femnist_cnn("V1", "fc1"), **shape))
    assert (u_shaped.head.forward, u_shaped.body.forward, u_shaped.tail.forward) == (conv1, conv2 + fc1, fc2)
    assert cut_costs(toy(FedAvg(), model=femnist_cnn(), **shape)).head.forward == conv1 + conv2 + fc1 + fc2


def test_a_round_is_every_sample_once_an_epoch():
    scenario = toy(SplitFedV1(), training__local_epochs=3)
    costs, plan = cut_costs(scenario), plan_of(scenario)
    flops = round_flops(scenario, plan)
    assert flops.clients.tolist() == (3 * plan.samples * costs.client_step).tolist()
    assert flops.server == 3 * plan.samples.sum() * costs.body.step
    assert flops.averaging == 2 * 6 * costs.client_floats and flops.server_averaging == 2 * 6 * costs.body.floats


def test_nobody_averages_where_portions_are_handed_on_or_pooled():
    for protocol in (SplitLearning(), Centralized()):
        scenario = toy(protocol)
        flops = round_flops(scenario, plan_of(scenario))
        assert (flops.averaging, flops.server_averaging) == (0, 0)
