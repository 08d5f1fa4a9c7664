"""Oracle of ``as_published="thapa2022"``: the control flow of the authors' scripts, hand-written on toys.

Per user replicas that outlive rounds, an Adam made for every batch of the server, unweighted means, tests in the middle
of training.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field

import torch
from torch import nn

from raysplit import rng
from raysplit.models.network import build
from raysplit.population.selection.cohort import draw, malicious_ranks
from raysplit.protocols.split_steps import handover_order
from raysplit.scenario.scenario import Scenario


@dataclass
class Authors:
    """The global model after the last round, and the tests of every round: client → (loss sum, correct)."""

    model: dict[str, torch.Tensor]
    tests: list[dict[int, tuple[float, int]]] = field(default_factory=list)
    averaged: list[int] = field(default_factory=list)
    """users whose training completed an average of the server replicas, as round numbers"""


def mean(portions: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Unweighted; counters of batches are left as the last has them, for no arithmetic reads them."""
    return {
        name: sum(p[name] for p in portions) / len(portions) if tensor.is_floating_point() else tensor
        for name, tensor in portions[-1].items()
    }


def authors_loop(scenario: Scenario, kind: str, stages: int) -> Authors:
    """``kind``: ``"V1"``, ``"V2"``, ``"SL"`` or ``"FL"``; the first ``stages`` stages are the client's."""
    torch.set_num_threads(1)
    training, population = scenario.training, scenario.population.open()
    users = population.info.clients
    network = build(scenario.model, scenario.seed, training.dtype)
    client, server = network[:stages], network[stages:]
    ranks = malicious_ranks(scenario.seed, users)
    replicas, idle, locals_server, seen = [copy.deepcopy(server) for _ in range(users)], server, [], set()
    result = Authors({})
    for round in range(1, training.rounds + 1):
        sampled = draw(scenario.cohort, scenario.seed, round, ranks).clients
        locals_client, tests = [], {}
        order = (
            range(len(sampled))
            if kind == "FL"
            else handover_order(scenario.protocol, scenario.seed, round, len(sampled))
        )
        for position in order:
            user = int(sampled[position])
            local_client = copy.deepcopy(client).train()
            body = replicas[user] if kind == "V1" else server
            body.train()
            x, y = data(population.train(user), training.dtype)
            optimizer = torch.optim.Adam(local_client.parameters(), training.lr, eps=1e-4)
            for epoch in range(training.local_epochs):
                shuffled = torch.arange(len(y))
                if len(y) > training.batch_size:
                    shuffled = torch.from_numpy(
                        rng.stream(scenario.seed, "batches", round, user, epoch).permutation(len(y))
                    )
                for chosen in shuffled.split(training.batch_size):
                    optimizer.zero_grad()
                    fx = local_client(x[chosen])
                    if kind == "FL":
                        nn.functional.cross_entropy(fx, y[chosen]).backward()
                        optimizer.step()
                        continue
                    leaf = fx.clone().detach().requires_grad_(True)
                    anew = torch.optim.Adam(body.parameters(), training.lr, eps=1e-4)
                    anew.zero_grad()
                    nn.functional.cross_entropy(body(leaf), y[chosen]).backward()
                    anew.step()
                    fx.backward(leaf.grad)
                    optimizer.step()
            locals_client.append(local_client.state_dict())
            if kind == "V1":
                locals_server.append(copy.deepcopy(body.state_dict()))
                seen.add(user)
                if len(seen) == users:
                    idle.load_state_dict(mean(locals_server))
                    replicas = [copy.deepcopy(idle) for _ in range(users)]
                    locals_server, seen = [], set()
                    result.averaged.append(round)
            tests[user] = judge(
                client, replicas[user] if kind == "V1" else server, population.test(user), training.dtype
            )
            if kind == "SL":
                client.load_state_dict(local_client.state_dict())
        if kind != "SL":
            client.load_state_dict(mean(locals_client))
        result.tests.append(tests)
    result.model = {**named(client), **named(idle if kind == "V1" else server)}
    return result


def named(part: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in part.state_dict().items() if tensor.is_floating_point()}


def data(samples: tuple[torch.Tensor, torch.Tensor], dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    return (samples[0].to(dtype) / 255).contiguous(memory_format=torch.channels_last), samples[1]


@torch.no_grad()
def judge(
    client: nn.Module, server: nn.Module, samples: tuple[torch.Tensor, torch.Tensor], dtype: torch.dtype
) -> tuple[float, int]:
    client.eval(), server.eval()
    x, y = data(samples, dtype)
    logits = server(client(x))
    client.train(), server.train()
    assert math.isfinite(float(logits.sum()))
    return float(nn.functional.cross_entropy(logits, y, reduction="sum")), int((logits.argmax(1) == y).sum())
