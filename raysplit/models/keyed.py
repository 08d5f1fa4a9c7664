"""Layers that draw random numbers by name: the same step draws the same wherever and however it is played.

torch's own layers draw from the process's global generator, so what they draw would depend on who trained before in the
same process, and a split network would draw otherwise than the unsplit one. Here every layer that draws is told whose
step comes next, by client and server alike; what it draws is a function of that. It is drawn on the CPU, so all devices
agree.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import NamedTuple

from torch import nn


class StepKey(NamedTuple):
    """Whose step is being taken: part of the names of the streams that layers draw from."""

    seed: int
    round: int
    client: int
    step: int


class KeyedLayer(nn.Module):
    """A layer that draws."""

    @abstractmethod
    def set_key(self, key: StepKey | None) -> None:
        """Whose step comes next; None: nobody's."""


def keyed_layers_in(modules: Iterable[nn.Module]) -> list[KeyedLayer]:
    """The layers of some portions that draw: what a model slot keeps, to hand the key to them."""
    return [layer for module in modules for layer in module.modules() if isinstance(layer, KeyedLayer)]


def key_layers(layers: Iterable[KeyedLayer], seed: int, round: int, client: int, step: int) -> None:
    """Say whose step comes next; to be called before every training forward, by client and server alike."""
    key = StepKey(seed, round, client, step)
    for layer in layers:
        layer.set_key(key)
