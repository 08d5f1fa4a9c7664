"""Extraction of the server portion by one client: what it sent and got back, and how its surrogate is scored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from raysplit import rng
from raysplit.analysis.inference.candidates import Candidate, trained_honestly
from raysplit.analysis.inference.scoring import Score
from raysplit.analysis.inference.setup import Setup
from raysplit.analysis.inference.target import portions_of, trained_portions
from raysplit.analysis.inference.victims import Victims, pixels
from raysplit.analysis.runs.trained import Trained
from raysplit.attacks.inference.inference_attack import InferenceAttack, Knowledge, Observed, Reconstruction
from raysplit.attacks.inference.model_extraction import ModelExtraction
from raysplit.attacks.inference.target import AskedServer, Target
from raysplit.channels.channel import Channel
from raysplit.defenses.messages.message_defense import DefenseView, checked, of_gradients
from raysplit.errors import RunError
from raysplit.memory.global_state import GlobalState
from raysplit.population.opening import open_population
from raysplit.population.population import Samples
from raysplit.scenario.scenario import Scenario

_CHUNK = 256


def own_samples(run: Trained, setup: Setup) -> list[Candidate]:
    """At most ``setup.samples`` training samples of the client that attacks, drawn from the run's stream: ``setup.client``,
    else the honest one with the lowest id that has trained. Raises ``RunError`` where there is none."""
    population = open_population(run.scenario.population)
    clients = trained_honestly(run) if setup.client is None else [setup.client]
    for client in clients:
        own = population.train(client)
        if not len(own.y):
            continue
        order = rng.stream(run.scenario.seed, "inference own samples", client).permutation(len(own.y))
        chosen = np.sort(order[: setup.samples])
        return [(client, int(i), Samples(own.x[i : i + 1], own.y[i : i + 1])) for i in chosen]
    raise RunError(
        f"no honest client of {run.path.name} has trained yet, so there is none to ask the server; train first"
    )


def sent_alone(scenario: Scenario, target: Target, chosen: list[Candidate]) -> Victims:
    """What crosses for the client's own samples, each in a batch of its own, nobody having taken a step."""
    assert target.server is not None
    x = pixels(scenario, torch.cat([sample.x for _, _, sample in chosen]))
    y = torch.cat([sample.y for _, _, sample in chosen])
    with torch.no_grad():
        z = torch.cat([target.client(some) for some in torch.split(x, _CHUNK)])
    messages = {Channel.SMASHED: z}
    labels = None if scenario.protocol.u_shaped else y
    if labels is not None:
        messages[Channel.CUT_GRADIENTS] = target.server.cut_gradients(z, y)
    n, clients = len(y), torch.tensor([client for client, _, _ in chosen])
    return Victims(messages, torch.arange(n), torch.ones(n, dtype=torch.int64), labels, x, y, clients)


def of_one_client(victims: Victims) -> Victims:
    """Those of the first of several clients."""
    rows = victims.clients == victims.clients[0]
    return replace(
        victims,
        messages={channel: tensor[rows] for channel, tensor in victims.messages.items()},
        batches=victims.batches[rows],
        batch_sizes=victims.batch_sizes[rows],
        labels=None if victims.labels is None else victims.labels[rows],
        x=victims.x[rows],
        y=victims.y[rows],
        clients=victims.clients[rows],
    )


def asked_server(scenario: Scenario, state: GlobalState) -> AskedServer:
    """The server portion of a state, in evaluation mode, as a client meets it: with the server's defences of cut gradients,
    each batch of one with noise of its own."""
    portions, _ = trained_portions(scenario, state, None, in_training=False)
    assert portions.body is not None
    server, defenses, seed = portions.body, of_gradients(scenario.message_defenses), scenario.seed
    asked: Iterator[int] = iter(range(1 << 62))

    def cut_gradients(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        answers = []
        for some, labels in zip(torch.split(z, _CHUNK), torch.split(y, _CHUNK), strict=True):
            leaf = some.detach().requires_grad_()
            loss = functional.cross_entropy(server(leaf), labels, reduction="sum")  # a batch each, so no 1/B
            answers.append(torch.autograd.grad(loss, [leaf])[0])
        answered = torch.cat(answers)
        if defenses:
            rows = zip(torch.split(answered, 1), torch.split(y, 1), strict=True)
            return torch.cat([defended(gradient, label, next(asked)) for gradient, label in rows])
        return answered

    def defended(gradient: torch.Tensor, label: torch.Tensor, number: int) -> torch.Tensor:
        for place, defense in defenses:
            draw = rng.torch_stream(seed, "gradient defense of queries", number, place)
            made = defense.sent(gradient, DefenseView(scenario.model.classes, draw, label))
            gradient = checked(defense, "sent", gradient, made)
        return gradient

    def untrained(index: int) -> nn.Module:
        body = portions_of(scenario, rng.key(seed, "inference untrained server portion", index) >> 65).body
        assert body is not None
        return body.eval()

    return AskedServer(untrained, server, cut_gradients)


def scores_of_surrogate(
    attack: InferenceAttack, found: Reconstruction, victims: Victims, target: Target
) -> list[Score]:
    """Of the attack's surrogate, of one that the same client trains on its own samples alone, of an untrained one and of the
    true portion, each behind the client's own portion: accuracy on auxiliary samples, and agreement with the true model,
    which the literature calls fidelity. Raises ``RunError`` where there is no test sample to score on."""
    assert found.surrogate is not None and target.server is not None
    if target.auxiliary is None:
        raise RunError("a surrogate is scored on test samples of the clients that are evaluated, but they have none")
    tried = {type(attack).__name__: found.surrogate}
    own = replace(attack, form="own_data") if isinstance(attack, ModelExtraction) else ModelExtraction(form="own_data")
    if own != attack:
        seen = Observed(own, victims.messages, victims.batches, victims.batch_sizes, victims.labels)
        trained = own.infer(seen, Knowledge(own, target)).surrogate
        assert trained is not None
        tried["its own samples alone"] = trained
    tried |= {"an untrained surrogate": target.server.untrained(1 << 20), "the true portion": target.server.portion}
    x, y = target.auxiliary.x, target.auxiliary.y
    scores = []
    with torch.no_grad():
        z = torch.cat([target.client(some) for some in torch.split(x, _CHUNK)])
        truth = _named(target.server.portion, z)
        for of, portion in tried.items():
            answers = _named(portion, z)
            scores.append(Score(of, "accuracy", float((answers == y).double().mean())))
            scores.append(Score(of, "agreement with the model", float((answers == truth).double().mean())))
    return scores


def _named(portion: nn.Module, z: torch.Tensor) -> torch.Tensor:
    return torch.cat([portion(some).argmax(1) for some in torch.split(z, _CHUNK)])
