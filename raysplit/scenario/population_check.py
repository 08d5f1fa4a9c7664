"""Whether a scenario and the data that it opened fit each other, checked before anything is trained."""

from __future__ import annotations

from raysplit.errors import PopulationError, ScenarioError
from raysplit.population.population import PopulationInfo
from raysplit.scenario.scenario import Scenario


def check_population(scenario: Scenario, info: PopulationInfo) -> None:
    """Raise where a scenario and the data that it opened do not fit each other."""
    model = scenario.model
    scenario.cohort.check(info.trainable, info.name)
    for rule in (scenario.defense, scenario.server_defense):
        for root in rule.roots:
            if root >= info.trainable:
                raise ScenarioError(
                    f"{type(rule).__name__} names the root client {root}, but the population {info.name!r} has only "
                    f"{info.trainable} clients, counted from 0"
                )
    if info.unseen and scenario.protocol.published.tested == "in_training":
        raise ScenarioError(
            f"{type(scenario.protocol).__name__} as published tests clients while they train, but those of population "
            f"{info.name!r} that train have nothing to test on; take one that is split by sample"
        )
    if info.shape != model.input_shape:
        raise PopulationError(
            f"{type(model).__name__} takes samples of shape {model.input_shape}, but population {info.name!r} has "
            f"{info.shape}; choose a model for that shape"
        )
    if info.dtype == "float32" and scenario.pixels in ("inverted", "centred"):
        raise ScenarioError(
            f"Scenario.pixels={scenario.pixels!r} is about bytes, but population {info.name!r} holds float32 numbers, "
            "which the network sees as they are; leave pixels out"
        )
    if info.classes > model.classes:
        raise PopulationError(
            f"{type(model).__name__} tells {model.classes} classes apart, but population {info.name!r} has "
            f"{info.classes}"
        )
