"""Carrying out defences of labels: once for a client's whole training set."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from raysplit import rng
from raysplit.defenses.messages.message_defense import DefenseView, LabelDefense, MessageDefense, checked, of_labels
from raysplit.errors import ScenarioError
from raysplit.population.population import Samples


def released(defenses: Sequence[MessageDefense], own: Samples, client: int, classes: int, seed: int) -> Samples:
    """What an honest client trains on: its samples with labels that are drawn once, from streams of (seed, client,
    defence), and stay. Raises ``ScenarioError`` where a defence gives back what are no labels."""
    labels = own.y
    for place, defense in of_labels(defenses):
        view = DefenseView(classes, rng.torch_stream(seed, "label defense", client, place), labels)
        labels = _labels(defense, labels, defense.released(labels, view), classes)
    return own if labels is own.y else Samples(own.x, labels)


def _labels(defense: LabelDefense, old: torch.Tensor, new: object, classes: int) -> torch.Tensor:
    labels = checked(defense, "released", old, new)
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise ScenarioError(f"{type(defense).__name__}.released() returned labels outside of 0 to {classes - 1}")
    return labels
