"""How generated samples are scored: by a classifier that the attack never touched, beside honest and untrained ones."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn
from torch.nn import functional

from raysplit import rng
from raysplit.analysis.inference.scoring import Score
from raysplit.analysis.inference.victims import pixels
from raysplit.attacks.inference.inference_attack import Reconstruction
from raysplit.attacks.inference.target import Target
from raysplit.models.keyed import key_layers, keyed_layers_in
from raysplit.models.network import build
from raysplit.population.opening import open_population
from raysplit.population.population import Samples
from raysplit.protocols.joint import joint
from raysplit.scenario.scenario import Scenario

SAMPLES, STEPS, BATCH, LR = 6000, 600, 64, 1e-3
"""Of the clean classifier's training: samples at most, steps of Adam, samples a step, learning rate."""


def scores_of_samples(name: str, found: Reconstruction, target: Target, scenario: Scenario) -> list[Score]:
    """Of the attack's samples, of those of the generator as it began, and of honest test samples of the class: the
    clean classifier's mean probability for the class (``confidence``), how often it names it (``called so``), and the
    mean distance of two samples, a root mean square over pixels on the scale on which inputs range over 1
    (``spread``). The classifier is the scenario's network, trained on clients' samples as one party would; its
    accuracy on test samples stands beside."""
    assert found.samples is not None and target.learned.generator is not None
    label, count = found.samples_of, len(found.samples)
    classifier = clean_classifier(scenario)
    draw = rng.torch_stream(target.seed, "inference untrained samples")
    tried = {name: found.samples, "an untrained generator": target.learned.generator.untrained(draw, count)}
    auxiliary = target.auxiliary
    if auxiliary is not None and bool((auxiliary.y == label).any()):
        tried["honest samples of the class"] = auxiliary.x[auxiliary.y == label][:count]
    scores = []
    for of, x in tried.items():
        with torch.no_grad():
            answers = classifier(x).softmax(1)
        scores.append(Score(of, "confidence", float(answers[:, label].double().mean())))
        scores.append(Score(of, "called so", float((answers.argmax(1) == label).double().mean())))
        if len(x) > 1:
            scores.append(Score(of, "spread", spread(x) / (target.high - target.low)))
    if auxiliary is not None:
        with torch.no_grad():
            right = classifier(auxiliary.x).argmax(1) == auxiliary.y
        scores.append(Score("the clean classifier", "accuracy", float(right.double().mean())))
    return scores


def spread(x: torch.Tensor) -> float:
    """Mean over pairs of different samples of √(mean (x − x')²); ``x``: [m, …], m ≥ 2."""
    rows = x.flatten(1).double()
    distances = functional.pdist(rows) / rows.shape[1] ** 0.5
    return float(distances.mean())


def clean_classifier(scenario: Scenario) -> nn.Module:
    """The scenario's whole network with fresh weights, trained on clients' training samples as they are, in evaluation
    mode. A function of the scenario's network, population and seed."""
    samples = list(_training_samples(scenario))
    x, y = pixels(scenario, torch.cat([s.x for s in samples])), torch.cat([s.y for s in samples])
    seed = rng.key(scenario.seed, "clean classifier") >> 65
    network = build(joint(scenario.model, scenario.protocol), seed, scenario.training.dtype)
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=LR)
    order, keyed = rng.torch_stream(scenario.seed, "clean classifier batches"), keyed_layers_in([network])
    for step in range(STEPS):
        key_layers(keyed, seed, 0, 0, step)
        rows = torch.randint(len(y), (min(BATCH, len(y)),), generator=order)
        optimizer.zero_grad()
        functional.cross_entropy(network(x[rows]), y[rows]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return network.eval()


def _training_samples(scenario: Scenario) -> Iterator[Samples]:
    """Of clients in the order of a permutation, until there are ``SAMPLES``."""
    population, taken = open_population(scenario.population), 0
    for client in rng.stream(scenario.seed, "clean classifier clients").permutation(population.info.clients).tolist():
        own = population.train(client)
        if taken >= SAMPLES:
            return
        yield Samples(own.x[: SAMPLES - taken], own.y[: SAMPLES - taken])
        taken += len(own.y)
