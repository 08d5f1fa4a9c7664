"""The oracle of protocols whose shared server steps on many clients' gradients: hand-written, plain SGD, no cut, no
simulator."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import nn
from torch.func import functional_call

from raysplit import rng
from raysplit.models.network import build
from raysplit.scenario.scenario import Scenario

Params = dict[str, torch.Tensor]
Batch = tuple[torch.Tensor, torch.Tensor]
BODY = {"V1": ("conv2", "fc1", "fc2"), "V2": ("fc1", "fc2"), "V3": ("fc2",)}
"""The server's stages of the toy network by cut."""


def batches(scenario: Scenario, round: int, client: int) -> list[Batch]:
    """A client's batches over all local epochs, in its order."""
    training = scenario.training
    x, y = scenario.population.open().train(client)
    pixels = (x.to(training.dtype) / 255).contiguous(memory_format=torch.channels_last)
    size = training.batch_size or len(y)
    found = []
    for epoch in range(training.local_epochs):
        order = torch.arange(len(y))
        if size < len(y):
            order = torch.from_numpy(rng.stream(scenario.seed, "batches", round, client, epoch).permutation(len(y)))
        found += [(pixels[chosen], y[chosen]) for chosen in order.split(size)]
    return found


def gradients(network: nn.Module, model: Params, x: torch.Tensor, y: torch.Tensor) -> Params:
    leaves = {name: tensor.detach().clone().requires_grad_() for name, tensor in model.items()}
    loss = nn.functional.cross_entropy(functional_call(network, leaves, (x,)), y)
    return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))


def moved(params: Params, grads: Params, lr: float) -> Params:
    return {name: tensor - lr * grads[name] for name, tensor in params.items()}


def summed(weighted: Iterator[tuple[float, Params]]) -> Params:
    total: Params = {}
    for weight, params in weighted:
        total = {name: total.get(name, 0) + weight * tensor for name, tensor in params.items()}
    return total


def by_hand(
    scenario: Scenario,
    turn: str,
    weight: Callable[[int, int], float] = lambda batch_samples, union: batch_samples / union,
    before_clients: Callable[[nn.Module, Params, list[tuple[Params, Batch]], int, int], Params] | None = None,
) -> Params:
    """Everybody takes part; client portions are averaged. ``weight``: of a gradient, from the sizes of its batch and of
    the union.

    ``turn``: "step" or "round" as in ``ServerStep``. ``before_clients``: the server's portion once it has seen a step's
    batches.
    """
    torch.set_num_threads(1)
    network = build(scenario.model, scenario.seed, scenario.training.dtype)
    whole = {name: tensor.detach().clone() for name, tensor in network.named_parameters()}
    body = {name: t for name, t in whole.items() if name.startswith(BODY[scenario.model.cut])}
    head = {name: t for name, t in whole.items() if name not in body}
    training = scenario.training
    server_lr = training.lr if training.server_lr is None else training.server_lr
    clients = range(scenario.cohort.size)
    sizes = [len(scenario.population.open().train(client).y) for client in clients]
    shares = [size / sum(sizes) for size in sizes]
    for round in range(1, training.rounds + 1):
        heads = [dict(head) for _ in clients]
        work = [batches(scenario, round, client) for client in clients]
        gathered: list[tuple[float, Params]] = []
        for step in range(max(map(len, work))):
            present = [client for client in clients if step < len(work[client])]
            union = sum(len(work[client][step][1]) for client in present)
            if before_clients is not None:
                body = before_clients(network, body, [(heads[c], work[c][step]) for c in present], round, step)
            for client in present:
                found = gradients(network, {**heads[client], **body}, *work[client][step])
                heads[client] = moved(heads[client], found, training.lr)
                batch_samples = len(work[client][step][1])
                share = shares[client] if turn == "round" else weight(batch_samples, union)
                gathered.append((share, {name: found[name] for name in body}))
            if turn == "step" and before_clients is None:
                body, gathered = moved(body, summed(iter(gathered)), server_lr), []
        if turn == "round":
            body = moved(body, summed(iter(gathered)), server_lr)
        head = summed(zip(shares, heads, strict=True))
    return {**head, **body}
