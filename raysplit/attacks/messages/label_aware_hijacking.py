"""A hijacking that knows the labels (Yao et al., "URVFL", NDSS 2025): its gradients carry what detectors look for."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional

from raysplit import rng
from raysplit.attacks.learned_state import restore
from raysplit.attacks.messages.hijacking import (
    Hijacking,
    draw_weights,
    dtype_of,
    kept,
    public_samples,
    replaced,
    z_shape_of,
)
from raysplit.attacks.messages.hijacking_networks import critic, pilot
from raysplit.attacks.messages.hook_attack import AttackStart, path_of
from raysplit.attacks.messages.message_attack import checked, server_threat
from raysplit.attacks.messages.tampering import Tampered
from raysplit.channels.channel import Channel, Party, ThreatModel
from raysplit.channels.hooks import MessageHook
from raysplit.channels.message import Message
from raysplit.memory.memory import Memory, State
from raysplit.models.decoders import Decoder, decoder
from raysplit.parts.part import part, within
from raysplit.protocols.requirements import Requirement, labels_at_server

BEFORE_BATCH = 128
"""Samples of a step before training begins, as published."""


@part
class LabelAwareHijacking(Hijacking):
    """Cut gradients that make the client portion f imitate a shadow f̃ class by class, where the server can invert f̃.

    A discriminator D tells 2C classes apart, whose z and of which label. At every split step, on its smashed data z
    with labels y and on public samples x with labels ỹ, all with the same weights, then one step of Adam each::

        D:        CE(D(z), 2y) + CE(D(f̃(x)), 2ỹ + 1)            discriminator_lr
        client:   ∂ CE(D(z), 2y + 1) / ∂z instead of the task's gradient

    f̃ and its decoder f̃⁻¹ are trained on mean (x − f̃⁻¹(f̃(x)))² with ``shadow_lr``: ``"before"`` the first split step,
    for ``epochs`` over the public samples (URVFL), or ``"jointly"``, a step at every split step (Sync). A client's
    gradients differ by label as the task's do, and wrong labels are answered by gradients towards the wrong class.
    Sources: the paper, section 4, and its code (``attack_module.py``, rates 1e-4, batches of 128, 4,545 auxiliary
    samples); it has labels at the server and one vertical partner, which split learning with one server is without.
    ``public``, ``width``, ``blocks``, ``decoder`` as ``FeatureSpaceHijacking``.
    """

    training: Literal["before", "jointly"] = "before"
    public: int = 1000
    epochs: int = 15
    shadow_lr: float = 1e-3
    discriminator_lr: float = 1e-3
    width: int = 32
    blocks: int = 2
    decoder: Decoder = "small"
    start_round: int = 1

    def __post_init__(self) -> None:
        checked(self, self.start_round, shadow_lr=self.shadow_lr, discriminator_lr=self.discriminator_lr)
        within("LabelAwareHijacking.public", self.public, 1)
        within("LabelAwareHijacking.epochs", self.epochs, 1)
        within("LabelAwareHijacking.width", self.width, 1)
        within("LabelAwareHijacking.blocks", self.blocks, 0)

    @property
    def requires(self) -> tuple[Requirement, ...]:
        return (
            *super().requires,
            labels_at_server(
                "{component} goes by the labels that come with smashed data, but {protocol} is U-shaped; use "
                "FeatureSpaceHijacking, which needs none, or u_shaped=False"
            ),
        )

    @property
    def threat_model(self) -> ThreatModel:
        return server_threat(Channel.CUT_GRADIENTS, sees=(Channel.SMASHED,))

    def hook(self, start: AttackStart) -> MessageHook:
        return _LabelAware(self, start)

    def inverse(self, learned: State, seed: int, input_shape: tuple[int, int, int]) -> nn.Module:
        classes = int(learned["classes"])
        return Shadow(self, seed, input_shape, z_shape_of(learned), classes, learned).decoder


class Shadow(nn.Module):
    """What the server trains, with weights from the run's streams, or as ``learned`` has them."""

    def __init__(
        self,
        attack: LabelAwareHijacking,
        seed: int,
        input_shape: tuple[int, int, int],
        z_shape: tuple[int, ...],
        classes: int,
        learned: State,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            draw_weights(seed)
            self.shadow = pilot(input_shape, z_shape)
            self.decoder = decoder(attack.decoder, z_shape, input_shape)
            self.discriminator = critic(z_shape, attack.width, attack.blocks, 2 * classes)
        self.to(dtype_of(learned) if learned else dtype)
        both = [*self.shadow.parameters(), *self.decoder.parameters()]
        self.optimizers = {
            "shadow": torch.optim.Adam(both, lr=attack.shadow_lr),
            "discriminator": torch.optim.Adam(self.discriminator.parameters(), lr=attack.discriminator_lr),
        }
        if learned:
            restore(self, self.optimizers, learned)

    def rebuild(self, x: torch.Tensor) -> torch.Tensor:
        """A step of shadow and decoder; the shadow's smashed data before it, [B, …]."""
        imitated: torch.Tensor = self.shadow(x)
        self.step("shadow", functional.mse_loss(self.decoder(imitated), x))
        return imitated.detach()

    def step(self, kind: str, loss: torch.Tensor) -> None:
        self.optimizers[kind].zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizers[kind].step()


class _LabelAware(MessageHook):
    """One round of it."""

    party: Party = "main_server"
    channels = frozenset({Channel.SMASHED, Channel.CUT_GRADIENTS})

    def __init__(self, attack: LabelAwareHijacking, start: AttackStart) -> None:
        self._attack, self._start = attack, start
        self._received: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._tampered: dict[tuple[int, int], Tampered] = {}
        self._networks: Shadow | None = None
        self._public: tuple[torch.Tensor, torch.Tensor] | None = None

    def change(self, message: Message, labels: torch.Tensor | None) -> Message:
        if message.channel is Channel.SMASHED:
            assert message.labels is not None, "scenarios check that labels travel"
            self._received[message.client] = message.tensor.detach(), message.labels
            return message
        began = time.perf_counter()
        z, y = self._received.pop(message.client)
        with torch.enable_grad():
            gradient = self._step(z, y, message)
        sent, done = replaced(message, gradient, time.perf_counter() - began)
        key = (self._start.number, message.client)
        self._tampered[key] = self._tampered.get(key, Tampered()).plus(done)
        return replace(message, tensor=sent)

    def _step(self, z: torch.Tensor, y: torch.Tensor, message: Message) -> torch.Tensor:
        """∂ CE(D(z), 2y + 1) / ∂z, [B, …]; then the server's networks take a step."""
        networks, x, x_labels = self._open(z)
        draw = rng.torch_stream(self._start.seed, "hijack", message.round, message.client, message.step)
        chosen = torch.randint(len(x), (len(z),), generator=draw)
        if self._attack.training == "jointly":
            imitated = networks.rebuild(x[chosen])
        else:
            with torch.no_grad():
                imitated = networks.shadow(x[chosen])
        known = z.clone().requires_grad_()
        pulled = functional.cross_entropy(networks.discriminator(known), 2 * y + 1)
        (gradient,) = torch.autograd.grad(pulled, [known])
        apart = functional.cross_entropy(networks.discriminator(z), 2 * y)
        apart = apart + functional.cross_entropy(networks.discriminator(imitated), 2 * x_labels[chosen] + 1)
        networks.step("discriminator", apart)
        return gradient

    def _open(self, z: torch.Tensor) -> tuple[Shadow, torch.Tensor, torch.Tensor]:
        attack, start = self._attack, self._start
        if self._public is None:
            self._public = public_samples(attack, start, attack.public)
        if self._networks is None:
            self._z_shape = tuple(z.shape[1:])
            classes = start.classes
            self._networks = Shadow(
                attack, start.seed, start.input_shape, self._z_shape, classes, start.learned, z.dtype
            )
            if not start.learned and attack.training == "before":
                self._train_before(self._networks, self._public[0])
        return self._networks, *self._public

    def _train_before(self, networks: Shadow, x: torch.Tensor) -> None:
        for epoch in range(self._attack.epochs):
            draw = rng.torch_stream(self._start.seed, "hijack before training", epoch)
            for batch in torch.split(torch.randperm(len(x), generator=draw), BEFORE_BATCH):
                networks.rebuild(x[batch])

    def memory(self) -> Memory:
        if self._networks is None:
            return {}
        found = kept(self._networks, self._networks.optimizers, self._z_shape)
        return {path_of(self._attack): {**found, "classes": torch.tensor(self._start.classes)}}

    def records(self) -> Mapping[str, Mapping[Any, Any]]:
        return {"tampered": self._tampered}
