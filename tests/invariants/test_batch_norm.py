"""BatchNorm's running statistics: averaged with the clients' weights, kept out of robust rules and out of
optimisers."""

import copy

import pytest
import torch

from raysplit.aggregation.rules.median import Median
from raysplit.models.network import build
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.training.optimizers import Adam
from raysplit.training.settings import FedOpt
from tests.invariants.plain_loop import train_client
from tests.toys import ToyCnn, distance, play, toy, weighted_average

BUFFERS = ("running_mean", "running_var")


def normed(protocol, cut="V1", **changes):
    changes = {"training__rounds": 1, "training__precision": "float64", **changes}
    return toy(protocol, model=ToyCnn(cut, batch_norm=True), **changes)


def trained_client(scenario):
    """Every client's whole model after the first round, and the weights n_k / n."""
    models, sizes = [], []
    for client in range(scenario.cohort.size):
        network = build(scenario.model, scenario.seed, scenario.training.dtype)
        optimizer = torch.optim.SGD(
            network.parameters(), scenario.training.lr, momentum=0.9, weight_decay=1e-3
        )  # toys.SGD
        train_client(network, scenario, 1, client, optimizer)
        state = {k: v for k, v in copy.deepcopy(network.state_dict()).items() if v.is_floating_point()}
        models.append(state)
        sizes.append(len(scenario.population.open().train(client).y))
    return models, [size / sum(sizes) for size in sizes]


def buffers(model):
    return {name: tensor for name, tensor in model.items() if name.endswith(BUFFERS)}


def parameters(model):
    return {name: tensor for name, tensor in model.items() if not name.endswith(BUFFERS)}


@pytest.mark.parametrize("protocol", [FedAvg(), SplitFedV1()], ids=repr)
def test_statistics_are_averaged_with_the_same_weights_as_parameters(protocol):
    scenario = normed(protocol)
    played = play(scenario)
    assert len(buffers(played.named)) == 4
    assert distance(played.named, weighted_average(*trained_client(scenario))) < 1e-14


@pytest.mark.parametrize("protocol", [FedAvg(), SplitFedV1()], ids=repr)
def test_a_robust_rule_judges_parameters_and_leaves_statistics_to_the_mean(protocol):
    scenario = normed(protocol, defense=Median())
    played = play(scenario)
    models, weights = trained_client(scenario)
    mean = weighted_average(models, weights)
    median = {name: torch.stack([model[name] for model in models]).median(0).values for name in mean}
    judged = {name: tensor for name, tensor in played.named.items() if name in played.layout.client.names}
    for name, tensor in judged.items():
        expected = mean if name.endswith(BUFFERS) else median
        assert float((tensor - expected[name]).abs().max()) < 1e-14, name
    assert distance(parameters(mean), parameters(median)) > 1e-4


@pytest.mark.parametrize("protocol", [FedAvg(), SplitFedV1()], ids=repr)
def test_an_optimiser_on_the_aggregate_steps_on_parameters_and_leaves_statistics_averaged(protocol):
    played = play(normed(protocol, training__aggregate=FedOpt(Adam(), lr=1.0)))
    plain = play(normed(protocol))
    assert distance(buffers(played.named), buffers(plain.named)) == 0
    assert distance(parameters(played.named), parameters(plain.named)) > 0.5
    assert all(bool((t >= 0).all()) for name, t in played.named.items() if name.endswith("running_var"))


def test_the_shared_server_of_sflv2_keeps_running_statistics_over_all_clients():
    scenario = normed(SplitFedV2("client_major"))
    played = play(scenario)
    initial = played.layout.named(played.layout.initial())
    for name in buffers(played.named):
        assert not played.named[name].equal(initial[name])
