"""Candidates for membership: samples that a run trained on and as many that it did not, client by client."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import torch
from torch.nn import functional

from raysplit import rng
from raysplit.analysis.inference.setup import Setup
from raysplit.analysis.inference.victims import Victims, pixels
from raysplit.analysis.runs.trained import Trained
from raysplit.attacks.inference.target import Target
from raysplit.channels.channel import Channel
from raysplit.errors import RunError
from raysplit.population.opening import open_population
from raysplit.population.population import Samples
from raysplit.scenario.scenario import Scenario
from raysplit.storage.run_folder import RunFolder
from raysplit.storage.tables import read_table

_CHUNK = 256

Candidate = tuple[int, int, Samples]
"""A client, the index in its training or test set, the sample as a set of one"""


def candidates_of(run: Trained, setup: Setup) -> tuple[list[Candidate], list[Candidate]]:
    """Members and non-members, ``setup.samples`` // 2 of each at most: training and test samples of honest clients that
    have trained by then, of every client as many of one kind as of the other, drawn from the run's stream.

    Raises ``RunError`` where no such client has both.
    """
    if setup.samples < 2:
        raise RunError(
            "membership is asked of as many members as non-members, so --samples must be 2 or more, but it is "
            f"{setup.samples}"
        )
    population = open_population(run.scenario.population)
    members: list[Candidate] = []
    others: list[Candidate] = []
    for client in trained_honestly(run):
        room = setup.samples // 2 - len(members)
        if room <= 0:
            break
        if setup.client not in (None, client):
            continue
        known, fresh = population.train(client), population.test(client)
        each = min(room, len(known.y), len(fresh.y))
        for kind, (into, of) in enumerate(((members, known), (others, fresh))):
            order = rng.stream(run.scenario.seed, "inference candidates", client, kind).permutation(len(of.y))
            into += [(client, int(i), Samples(of.x[i : i + 1], of.y[i : i + 1])) for i in np.sort(order[:each])]
    if not members:
        raise RunError(
            f"no honest client that trained in {run.path.name} has both training and test samples to tell apart; take "
            "another client or another run"
        )
    return members, others


def trained_honestly(run: Trained) -> list[int]:
    """Clients that took a step in some round up to the checkpoint, ascending, without the malicious."""
    table: pa.Table = read_table(RunFolder(run.path).metrics / "clients.arrow")
    rows = zip(*(table.column(name).to_pylist() for name in ("round", "client", "steps", "malicious")), strict=True)
    return sorted({c for r, c, steps, malicious in rows if r <= run.state.round and steps and not malicious})


def asked(
    scenario: Scenario,
    target: Target,
    members: Sequence[Candidate],
    others: Sequence[Candidate],
    reads: frozenset[Channel],
) -> Victims:
    """What would cross for every candidate alone if it were trained on next, nobody having taken a step: smashed data
    with labels, and the cut gradients that the main server answers, batches of one."""
    chosen = [*members, *others]
    x = pixels(scenario, torch.cat([sample.x for _, _, sample in chosen]))
    y = torch.cat([sample.y for _, _, sample in chosen])
    messages: dict[Channel, torch.Tensor] = {}
    if reads:
        pairs = [_sent(target, *some) for some in zip(torch.split(x, _CHUNK), torch.split(y, _CHUNK), strict=True)]
        messages[Channel.SMASHED] = torch.cat([z for z, _ in pairs])
        messages[Channel.CUT_GRADIENTS] = torch.cat([gradient for _, gradient in pairs])
    n = len(y)
    return Victims(
        messages,
        torch.arange(n),
        torch.ones(n, dtype=torch.int64),
        None if scenario.protocol.u_shaped else y,
        x,
        y,
        torch.tensor([client for client, _, _ in chosen]),
        members=torch.arange(n) < len(members),
    )


def _sent(target: Target, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.no_grad():
        z = target.client(x)
    z = z.detach().requires_grad_()
    loss = functional.cross_entropy(target.finish(z), y, reduction="sum")  # a batch each, so no 1/B
    (gradient,) = torch.autograd.grad(loss, [z])
    return z.detach(), gradient
