"""How decoders from smashed data to inputs are trained: shared by attacks that learn an inverse."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.nn import functional

from raysplit.errors import ScenarioError
from raysplit.models.decoders import Decoder, decoder
from raysplit.parts.part import part


@part
class DecoderTraining:
    """``epochs`` of Adam at ``lr`` on batches of ``batch_size`` pairs (z, x), the rate halved every ``halve_every``.

    Defaults: He et al. 2019, black-box attack. ``validation``: the share of pairs that is held out, by which the best
    of several decoders is chosen; nothing of the victims' is used.
    """

    epochs: int = 50
    lr: float = 1e-3
    batch_size: int = 32
    halve_every: int = 10
    validation: float = 0.2

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch_size, self.halve_every) < 1 or self.lr <= 0 or not 0 < self.validation < 1:
            raise ScenarioError(
                "DecoderTraining takes epochs, batch_size and halve_every from 1, lr above 0 and validation between 0 "
                f"and 1, but it is {self}"
            )


def made(
    kind: Decoder, z_shape: tuple[int, ...], input_shape: tuple[int, int, int], draw: torch.Generator
) -> nn.Module:
    """A decoder with weights from the generator's stream, in the default precision."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(1 << 62, (), generator=draw)))
        return decoder(kind, z_shape, input_shape)


def held_out(pairs: int, training: DecoderTraining) -> int:
    """How many of ``pairs`` no decoder is trained on."""
    return max(1, round(training.validation * pairs))


def train_decoder(
    network: nn.Module, z: torch.Tensor, x: torch.Tensor, training: DecoderTraining, draw: torch.Generator
) -> float:
    """Train on pairs z [m, …], x [m, C, H, W]; returns the mean squared error on the held-out pairs."""
    order = torch.randperm(len(z), generator=draw)
    held = held_out(len(z), training)
    if held >= len(z):
        raise ScenarioError(f"a decoder needs two pairs of smashed data and inputs at least, but there are {len(z)}")
    known, fresh = order[held:], order[:held]
    optimizer = torch.optim.Adam(network.parameters(), lr=training.lr)
    for epoch in range(training.epochs):
        for group in optimizer.param_groups:
            group["lr"] = training.lr * 0.5 ** (epoch // training.halve_every)
        for rows in torch.split(known[torch.randperm(len(known), generator=draw)], training.batch_size):
            optimizer.zero_grad()
            functional.mse_loss(network(z[rows]), x[rows]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    with torch.no_grad():
        return float(functional.mse_loss(network(z[fresh]), x[fresh]))


RATES = (1.0, 3.0, 1 / 3)
"""What the learning rate is multiplied with, in the order in which a budget of trials is spent"""


@dataclass(frozen=True)
class Choice:
    """The best of ``trials`` decoders. ``error``: its mean squared error on the ``held`` pairs by which it was chosen."""

    kind: Decoder
    lr: float
    trials: int
    held: int
    error: float

    def __str__(self) -> str:
        best = f", the best of {self.trials} trials" if self.trials > 1 else ""
        return f"decoder {self.kind!r} at lr {self.lr:g}{best}; MSE on {self.held} held-out pairs {self.error:.4f}"


def strongest(
    kinds: tuple[Decoder, ...],
    pairs: tuple[torch.Tensor, torch.Tensor],
    training: DecoderTraining,
    draw: torch.Generator,
    trials: int = 0,
) -> tuple[nn.Module, Choice]:
    """The decoder with the smallest error on held-out pairs, trained. ``trials``: how many are trained: each of
    ``kinds`` at ``training.lr``, then at the other rates (``RATES``); 0: each of ``kinds`` once."""
    z, x = pairs
    tried: list[tuple[float, int, nn.Module, Choice]] = []
    for number in range(trials or len(kinds)):
        kind, lr = kinds[number % len(kinds)], training.lr * RATES[number // len(kinds)]
        network = made(kind, tuple(z.shape[1:]), tuple(x.shape[1:]), draw).to(z.dtype)  # type: ignore[arg-type]
        error = train_decoder(network, z, x, replace(training, lr=lr), draw)
        choice = Choice(kind, lr, trials or len(kinds), held_out(len(z), training), error)
        tried.append((error if math.isfinite(error) else math.inf, number, network, choice))
    _, _, network, choice = min(tried, key=lambda one: one[:2])
    return network, choice
