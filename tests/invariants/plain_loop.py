"""The oracle: hand-written PyTorch on the unsplit network, with no simulator around it."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import nn

from raysplit import rng
from raysplit.models.network import build
from raysplit.scenario.scenario import Scenario
from raysplit.training.optimizers import Adam, OptimizerSpec, Sgd

Make = Callable[[list[nn.Parameter], float], torch.optim.Optimizer]

OPTIMIZERS: dict[str, tuple[OptimizerSpec, Make]] = {
    "sgd": (Sgd(), lambda p, lr: torch.optim.SGD(p, lr=lr)),
    "momentum": (
        Sgd(momentum=0.9, weight_decay=1e-2),
        lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9, weight_decay=1e-2),
    ),
    "adam": (Adam(), lambda p, lr: torch.optim.Adam(p, lr=lr)),
}
"""Name → RaySplit's part and the same thing of torch."""


def train_client(
    network: nn.Sequential, scenario: Scenario, round: int, client: int, optimizer: torch.optim.Optimizer
) -> None:
    """One client's round on the whole network, in place."""
    training = scenario.training
    x, y = scenario.population.open().train(client)
    pixels = (x.to(training.dtype) / 255).contiguous(memory_format=torch.channels_last)
    size = training.batch_size or len(y)
    for epoch in range(training.local_epochs):
        order = torch.arange(len(y))
        if size < len(y):
            order = torch.from_numpy(rng.stream(scenario.seed, "batches", round, client, epoch).permutation(len(y)))
        for chosen in order.split(size):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(pixels[chosen]), y[chosen]).backward()
            optimizer.step()


def federated(scenario: Scenario, make: Make, frozen: tuple[str, ...] = ()) -> dict[str, torch.Tensor]:
    """FedAvg of the unsplit network, everybody taking part; the stages in ``frozen`` are never stepped.

    Averages Σ (n_k / n) W_k in client order, not group by group as RaySplit does, so its last bits differ.
    """
    torch.set_num_threads(1)
    network = build(scenario.model, scenario.seed, scenario.training.dtype)
    population = scenario.population.open()
    clients = range(scenario.cohort.size)
    sizes = [len(population.train(client).y) for client in clients]
    for round in range(1, scenario.training.rounds + 1):
        averaged: dict[str, torch.Tensor] = {}
        for client in clients:
            local = copy.deepcopy(network)
            stepped = [p for name, stage in local.named_children() if name not in frozen for p in stage.parameters()]
            train_client(local, scenario, round, client, make(stepped, scenario.training.lr))
            for name, tensor in local.state_dict().items():
                share = tensor * (sizes[client] / sum(sizes))
                averaged[name] = averaged[name] + share if name in averaged else share
        network.load_state_dict(averaged)
    return network.state_dict()


def alone(scenario: Scenario, make: Make, fresh: bool) -> dict[str, torch.Tensor]:
    """Client 0 trains the unsplit network by itself; its optimiser is new each round, or kept."""
    torch.set_num_threads(1)
    network = build(scenario.model, scenario.seed, scenario.training.dtype)
    optimizer = make(list(network.parameters()), scenario.training.lr)
    for round in range(1, scenario.training.rounds + 1):
        if fresh:
            optimizer = make(list(network.parameters()), scenario.training.lr)
        train_client(network, scenario, round, 0, optimizer)
    return network.state_dict()
