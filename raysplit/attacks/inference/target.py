"""All that there is to know of whom an inference attack meets; attacks get it through ``Knowledge`` only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from raysplit.attacks.inference.local_training import LocalTraining


@dataclass(frozen=True)
class Auxiliary:
    """Samples that are not the victims'. ``x``: [m, C, H, W] as the network sees them; ``y``: int64 [m]."""

    x: torch.Tensor
    y: torch.Tensor


@dataclass(frozen=True)
class TrainedGenerator:
    """Of class ``target``, by the malicious ``client``. ``generate``: a stream and a number m → [m, C, H, W];
    ``untrained``: the same of the generator with which it began."""

    client: int
    target: int
    generate: Callable[[torch.Generator, int], torch.Tensor]
    untrained: Callable[[torch.Generator, int], torch.Tensor]


@dataclass(frozen=True)
class AskedServer:
    """A server portion as one client meets it. ``untrained``: one with fresh random weights, by number. ``portion``: the
    true one, from smashed data to logits. ``cut_gradients``: smashed data [n, …] and labels int64 [n] → what the server
    answers to each alone, ∂CE/∂z [n, …], nobody taking a step."""

    untrained: Callable[[int], nn.Module]
    portion: nn.Module
    cut_gradients: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class UShape:
    """The clients' last layers. ``features``: the server portion, from smashed data to features; ``tail``: the true last
    layers; ``untrained``: with fresh random weights, by number; ``gradients``: of the true ones, by parameter name, [split
    steps, …] each."""

    features: Callable[[torch.Tensor], torch.Tensor]
    tail: nn.Module
    untrained: Callable[[int], nn.Module]
    gradients: Mapping[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class LearnedInTraining:
    """What attacks in training have left. ``hijack``: from smashed data to inputs; ``generator``: as a malicious client
    has trained it. None: nothing was kept."""

    hijack: Callable[[torch.Tensor], torch.Tensor] | None = None
    generator: TrainedGenerator | None = None


@dataclass(frozen=True)
class ObservedUpdates:
    """``named``: from an update [d] to the client portion's parameters by name; ``training``: how it came about."""

    named: Callable[[torch.Tensor], dict[str, torch.Tensor]]
    training: LocalTraining


@dataclass(frozen=True)
class AskedMembership:
    """``candidates``: samples of which some were trained on. ``untrained``: a whole network with fresh random weights,
    by number."""

    candidates: Auxiliary
    untrained: Callable[[int], nn.Module]


@dataclass(frozen=True)
class Target:
    """All that there is to know. ``untrained``: a client portion with fresh random weights, by number. ``client``: the
    true one, whose ``forward`` gives smashed data, in evaluation mode. ``finish``: from smashed data to logits [n,
    classes], the rest of the model. ``low``, ``high``: between which values inputs lie. ``sends``: from inputs to smashed
    data as the clients send them, each batch with noise of its own where they defend them; None: as the portion gives
    them. ``labels``: the observed samples' true ones, int64 [n].

    What only some attacks are after, None where it is not: ``u_shape``, where the last layers are the clients';
    ``updates``, where these are observed; ``membership``, of candidates; ``server``, which one client asks."""

    seed: int
    input_shape: tuple[int, int, int]
    classes: int
    low: float
    high: float
    untrained: Callable[[int], nn.Module]
    client: nn.Module
    finish: Callable[[torch.Tensor], torch.Tensor]
    auxiliary: Auxiliary | None = None
    query_budget: int = 0
    sends: Callable[[torch.Tensor], torch.Tensor] | None = None
    labels: torch.Tensor | None = None
    u_shape: UShape | None = None
    learned: LearnedInTraining = LearnedInTraining()
    updates: ObservedUpdates | None = None
    membership: AskedMembership | None = None
    server: AskedServer | None = None

    def sent(self, x: torch.Tensor) -> torch.Tensor:
        """Smashed data [n, …] of inputs, as they leave a client."""
        return self.client(x) if self.sends is None else self.sends(x)
