"""Clients whose updates are attacked: what the fed server received, and, for the scores alone, what they trained on."""

from __future__ import annotations

import torch

from raysplit.analysis.inference.replay import ObservedUpdates
from raysplit.analysis.inference.setup import Setup
from raysplit.analysis.inference.victims import Victims, pixels
from raysplit.attacks.inference.local_training import LocalTraining
from raysplit.channels.channel import Channel
from raysplit.errors import RunError
from raysplit.population.opening import open_population
from raysplit.scenario.scenario import Scenario
from raysplit.training.optimizers import Sgd


def updated(scenario: Scenario, seen: ObservedUpdates, setup: Setup) -> Victims:
    """The samples of honest clients, in cohort order those whose samples are together ``setup.samples`` at most, and an
    update for each client. A client's samples are those of its first local epoch, batch by batch.

    Raises ``RunError`` where no honest client was there or none has so few samples.
    """
    population, batching = open_population(scenario.population), scenario.training.batching
    if batching.rate is not None:
        raise RunError(
            "clients that draw Poisson batches take a sample into several of them or none, so that an update is of no known "
            "set of samples; attack smashed data, or a scenario without Poisson batches"
        )
    honest = [
        (row, int(client))
        for row, client in enumerate(seen.recorded.clients)
        if int(client) not in seen.malicious and setup.client in (None, int(client))
    ]
    chosen, x, y, left, fewest = [], [], [], setup.samples, 0
    for row, client in honest:
        images, labels = population.train(client)
        batches = [
            batching.indices(scenario.seed, seen.round, client, step, len(labels))
            for step in range(batching.steps(len(labels)))
        ]
        rows = torch.cat([torch.arange(len(labels)) if one is None else torch.from_numpy(one) for one in batches])
        fewest = min(fewest or len(rows), len(rows))
        if len(rows) <= left:
            left -= len(rows)
            chosen.append((row, client, len(rows)))
            x.append(pixels(scenario, images[rows]))
            y.append(labels[rows])
    if not honest:
        raise RunError(
            f"no honest client's update was observed in round {seen.round}; choose another round or other clients"
        )
    if not chosen:
        raise RunError(
            f"an update is of all samples of its client, and the smallest client of round {seen.round} has {fewest}, "
            f"but {setup.samples} are attacked; use --samples {fewest} or more"
        )
    sizes = torch.tensor([size for _, _, size in chosen])
    return Victims(
        {Channel.UPDATES: seen.recorded.updates[[row for row, _, _ in chosen]].clone()},
        torch.arange(len(chosen)).repeat_interleave(sizes),
        sizes.repeat_interleave(sizes),
        None,
        torch.cat(x),
        torch.cat(y),
        torch.tensor([client for _, client, _ in chosen]).repeat_interleave(sizes),
    )


def local_training_of(scenario: Scenario, round: int, victims: Victims) -> LocalTraining:
    """How the clients of these updates trained."""
    training, population = scenario.training, open_population(scenario.population)
    lengths = []
    for number in torch.unique(victims.batches).tolist():
        client = int(victims.clients[victims.batches == number][0])
        lengths.append(tuple(training.batching.lengths(len(population.train(client)[1]))))
    optimizer = training.optimizer
    plain = isinstance(optimizer, Sgd) and optimizer.momentum == 0 and optimizer.weight_decay == 0
    return LocalTraining(
        training.client_lr_at(round),
        training.local_epochs,
        tuple(lengths),
        plain,
        scenario.protocol.server != "none",
    )
