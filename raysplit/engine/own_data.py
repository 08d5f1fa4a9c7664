"""What a client's detectors may know: the client's own data, and what everybody knows of the training."""

from __future__ import annotations

import functools

import numpy as np
import torch

from raysplit import rng
from raysplit.defenses.detection.client_detector import OwnData, first_weight
from raysplit.defenses.detection.client_hook import Clients
from raysplit.models.network import build
from raysplit.models.pixels import to_pixels
from raysplit.population.opening import open_population
from raysplit.protocols.plan import RoundPlan
from raysplit.scenario.scenario import Scenario


def what_clients_know(scenario: Scenario, plan: RoundPlan) -> Clients:
    """Of a scenario whose clients have detectors; the population is opened when the first of them gets ready."""
    model, dtype = scenario.model, scenario.training.dtype
    first = first_weight(model, scenario.protocol.u_shaped)
    assert first is not None, "scenarios check that something before the cut trains"
    population = functools.cache(lambda: open_population(scenario.population))

    def own(client: int, stream: np.random.Generator) -> OwnData:
        x, y = population().train(client)
        untrained = build(model, rng.key(scenario.seed, "network of a client's own", client) >> 65, dtype)
        inputs = to_pixels(x, scenario.pixels, dtype, torch.device("cpu"))
        return OwnData(client, inputs, y, untrained, scenario.training, first, stream)

    return Clients(plan.seed, plan.round, model.classes, first, own)
