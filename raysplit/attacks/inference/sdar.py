"""SDAR (Zhu et al. 2025) and PCAT: a simulator of the client portion and its decoder, trained against the server's own
portion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from raysplit.attacks.inference.adversary import Fact
from raysplit.attacks.inference.discriminators import Labelled, Unlabelled, of_images, of_smashed, with_label
from raysplit.attacks.inference.inference_attack import Goal, InferenceAttack, Knowledge, Observed, Reconstruction
from raysplit.channels.channel import Channel
from raysplit.errors import ScenarioError
from raysplit.models.decoders import Decoder, decoder
from raysplit.parts.part import part, within


@part
class Sdar(InferenceAttack):
    """A simulator e of the client portion and a decoder d, on auxiliary (x, y), s the server's own portion, frozen; z is
    what was observed. At every step, one step of Adam each::

        e:    CE(s(e(x)), y) + λ₁ · BCE(D_e(e(x)), 1)      D_e:  BCE(D_e(z), 1) + BCE(D_e(e(x)), 0)
        d:    MSE(d(e(x)), x) + λ₂ · BCE(D_d(d(z)), 1)      D_d:  BCE(D_d(x), 1) + BCE(D_d(d(z)), 0)

    Then x̂ = d(z). λ₁, λ₂: ``feature_weight``, ``image_weight``; the discriminators learn at λ · the rate of what they
    judge. ``by_label``: d and both discriminators are told the labels, which must have travelled with z. Where a weight
    is 0 there is no such discriminator: ``Sdar(feature_weight=0, image_weight=0)`` is **PCAT**. U-shaped, e is followed
    by s and a simulated tail, which names labels too; auxiliary labels are then drawn anew at every step, a share
    ``label_noise`` of them from all classes alike.

    All of z is attacked, and the discriminators learn from nothing else: observe some hundreds of samples. Published:
    along 20,000 steps of training with the server portion of each, ``width`` 128, pixels through a sigmoid; here against
    the server portion as it was when z was sent. Source: Zhu, Luo, Chen, Xiao, NDSS 2025, and its code; PCAT: Gao and
    Zhang, USENIX Security 2023.
    """

    steps: int = 2000
    batch_size: int = 64
    feature_weight: float = 0.02
    image_weight: float = 1e-5
    by_label: bool = False
    label_noise: float = 0.2
    simulator_lr: float = 1e-3
    decoder_lr: float = 5e-4
    decoder: Decoder = "small"
    width: int = 32
    goal: Goal = "inputs"

    def __post_init__(self) -> None:
        if min(self.steps, self.batch_size, self.width) < 1 or min(self.simulator_lr, self.decoder_lr) <= 0:
            raise ScenarioError(f"Sdar takes steps, batch_size and width from 1 and rates above 0, but it is {self}")
        if min(self.feature_weight, self.image_weight) < 0:
            raise ScenarioError(
                f"Sdar's weights must be at least 0, but they are {self.feature_weight} and {self.image_weight}"
            )
        within("Sdar.label_noise", self.label_noise, 0, 1)

    @property
    def reads(self) -> frozenset[Channel]:
        return frozenset({Channel.SMASHED})

    @property
    def needs(self) -> frozenset[Fact]:
        return frozenset({"architecture", "server_weights", "auxiliary_data"})

    @property
    def reads_labels(self) -> bool:
        return self.by_label

    def infer(self, observed: Observed, knowledge: Knowledge) -> Reconstruction:
        z = observed.on(Channel.SMASHED)
        labels = observed.labels() if self.by_label else None
        draw = knowledge.generator("simulator")
        with torch.random.fork_rng(devices=[]):  # first weights and dropout take the global stream
            torch.manual_seed(int(torch.randint(1 << 62, (), generator=draw)))
            networks = _networks(self, knowledge, tuple(z.shape[1:]), z.dtype)
            _train(self, networks, knowledge, z, labels, draw)
        return _found(networks, knowledge, z, labels)


@dataclass
class _Networks:
    """``answer``: from smashed data to logits, through ``tail`` where there is one. A discriminator that is None has no
    weight in any loss."""

    simulator: nn.Module
    answer: Callable[[torch.Tensor], torch.Tensor]
    tail: nn.Module | None
    decoder: nn.Module
    of_smashed: nn.Module | None
    of_images: nn.Module | None

    def train(self, mode: bool) -> None:
        for network in (self.simulator, self.tail, self.decoder, self.of_smashed, self.of_images):
            if network is not None:
                network.train(mode)


def _networks(attack: Sdar, knowledge: Knowledge, z_shape: tuple[int, ...], dtype: torch.dtype) -> _Networks:
    def told(shape: tuple[int, ...], make: Callable[[tuple[int, ...]], nn.Module]) -> nn.Module:
        if attack.by_label:
            return Labelled(shape, knowledge.classes, make(with_label(shape))).to(dtype)
        return Unlabelled(make(shape)).to(dtype)

    def answer(z: torch.Tensor) -> torch.Tensor:
        if tail is None:
            return knowledge.finish(z)
        logits: torch.Tensor = tail(knowledge.features(z))
        return logits

    tail = knowledge.untrained_tail() if knowledge.u_shaped else None
    x_shape = knowledge.input_shape
    return _Networks(
        knowledge.untrained_portion(),
        answer,
        tail,
        told(z_shape, lambda shape: decoder(attack.decoder, shape, x_shape)),
        told(z_shape, lambda shape: of_smashed(shape, attack.width)) if attack.feature_weight else None,
        told(x_shape, lambda shape: of_images(shape, attack.width)) if attack.image_weight else None,
    )


def _train(
    attack: Sdar,
    networks: _Networks,
    knowledge: Knowledge,
    z: torch.Tensor,
    labels: torch.Tensor | None,
    draw: torch.Generator,
) -> None:
    auxiliary = knowledge.auxiliary()
    simulating = [*networks.simulator.parameters(), *(() if networks.tail is None else networks.tail.parameters())]
    of_simulator = torch.optim.Adam(simulating, lr=attack.simulator_lr)
    of_decoder = torch.optim.Adam(networks.decoder.parameters(), lr=attack.decoder_lr)
    features = _judge(networks.of_smashed, attack.feature_weight, attack.simulator_lr)
    images = _judge(networks.of_images, attack.image_weight, attack.decoder_lr)
    networks.train(True)
    for _ in range(attack.steps):
        rows = torch.randint(len(auxiliary.y), (attack.batch_size,), generator=draw)
        x, y = auxiliary.x[rows], auxiliary.y[rows]
        seen = torch.randint(len(z), (attack.batch_size,), generator=draw)
        real, real_y = z[seen], None if labels is None else labels[seen]
        known_y = y if labels is not None else None

        simulated = networks.simulator(x)
        named = y if networks.tail is None else _redrawn(y, knowledge.classes, attack.label_noise, draw)
        loss = functional.cross_entropy(networks.answer(simulated), named) + features.fooled(simulated, known_y)
        _step(of_simulator, loss)
        features.learn((real, real_y), (simulated, known_y))

        with torch.no_grad():
            simulated = networks.simulator(x)
        loss = functional.mse_loss(networks.decoder(simulated, known_y), x)
        if networks.of_images is not None:
            rebuilt = networks.decoder(real, real_y)
            _step(of_decoder, loss + images.fooled(rebuilt, real_y))
            images.learn((x, known_y), (rebuilt, real_y))
        else:
            _step(of_decoder, loss)


def _redrawn(y: torch.Tensor, classes: int, share: float, draw: torch.Generator) -> torch.Tensor:
    """Labels from onehot(y) · (1 − share) + share / classes."""
    anew = torch.rand(y.shape, generator=draw) < share
    return torch.where(anew, torch.randint(classes, y.shape, generator=draw), y)


def _step(optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


Told = tuple[torch.Tensor, torch.Tensor | None]
"""Samples and their labels, None where nobody is told them."""


@dataclass
class _Judge:
    """A discriminator and its optimiser; without one it costs nothing and learns nothing."""

    network: nn.Module | None
    weight: float
    optimizer: torch.optim.Optimizer | None

    def fooled(self, made: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """weight · BCE(D(made), 1)"""
        if self.network is None:
            return made.new_zeros(())
        logits = self.network(made, labels)
        return self.weight * functional.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))

    def learn(self, real: Told, made: Told) -> None:
        """A step towards BCE(D(real), 1) + BCE(D(made), 0)."""
        if self.network is None or self.optimizer is None:
            return
        right, wrong = self.network(*real), self.network(made[0].detach(), made[1])
        bce = functional.binary_cross_entropy_with_logits
        _step(self.optimizer, bce(right, torch.ones_like(right)) + bce(wrong, torch.zeros_like(wrong)))


def _judge(network: nn.Module | None, weight: float, lr: float) -> _Judge:
    optimizer = None if network is None else torch.optim.Adam(network.parameters(), lr=weight * lr)
    return _Judge(network, weight, optimizer)


@torch.no_grad()
def _found(networks: _Networks, knowledge: Knowledge, z: torch.Tensor, labels: torch.Tensor | None) -> Reconstruction:
    networks.train(False)
    inputs = networks.decoder(z, labels).clamp(*knowledge.range)
    named = None if networks.tail is None else networks.answer(z).argmax(1)
    return Reconstruction(inputs=inputs, labels=named, clones=(networks.simulator,))
