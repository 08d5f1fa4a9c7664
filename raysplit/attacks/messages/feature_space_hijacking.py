"""Feature-space hijacking (Pasquini et al. 2021): a malicious main server teaches clients to send what it can invert."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

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
from raysplit.attacks.messages.hijacking_networks import critic, gradient_penalty, pilot
from raysplit.attacks.messages.hook_attack import AttackStart, path_of
from raysplit.attacks.messages.message_attack import checked, server_threat
from raysplit.attacks.messages.tampering import Tampered
from raysplit.channels.channel import Channel, Party, ThreatModel
from raysplit.channels.hooks import MessageHook
from raysplit.channels.message import Message
from raysplit.memory.memory import Memory, State
from raysplit.models.decoders import Decoder, decoder
from raysplit.parts.part import part, within


@part
class FeatureSpaceHijacking(Hijacking):
    """Cut gradients that make the client portion f imitate a pilot f̃, whose inverse the server trains.

    At every split step, on its smashed data z and public samples x, all with the same weights, then one step of Adam
    each::

        f̃, f̃⁻¹:  mean (x − f̃⁻¹(f̃(x)))²                          pilot_lr
        D:        mean D(f̃(x)) − mean D(z) + penalty·GP            critic_lr
        client:   ∂ mean D(z) / ∂z instead of the task's gradient

    D is low on what looks like the pilot's. GP is over all of a sample (the published code's norm is over H and W
    alone). What the client sent is then f̃⁻¹(z): ``raysplit infer RUN --attack HijackedInversion``. ``public``: how many
    test samples of the scenario's population the server has. Source: Pasquini, Ateniese, Bernaschi, CCS 2021, section
    3, and its code, whose rates, penalty 500 and depths of networks are the defaults of neither: these are for two
    cores (``width``, ``blocks``).
    """

    public: int = 1000
    pilot_lr: float = 1e-3
    critic_lr: float = 1e-4
    penalty: float = 500.0
    width: int = 32
    blocks: int = 2
    decoder: Decoder = "small"
    start_round: int = 1

    def __post_init__(self) -> None:
        checked(self, self.start_round, pilot_lr=self.pilot_lr, critic_lr=self.critic_lr)
        within("FeatureSpaceHijacking.public", self.public, 1)
        within("FeatureSpaceHijacking.penalty", self.penalty, 0)
        within("FeatureSpaceHijacking.width", self.width, 1)
        within("FeatureSpaceHijacking.blocks", self.blocks, 0)

    @property
    def threat_model(self) -> ThreatModel:
        return server_threat(Channel.CUT_GRADIENTS, sees=(Channel.SMASHED,))

    def hook(self, start: AttackStart) -> MessageHook:
        return _Hijacking(self, start)

    def inverse(self, learned: State, seed: int, input_shape: tuple[int, int, int]) -> nn.Module:
        return restored(self, learned, seed, input_shape)[0].inverse


class Hijack(nn.Module):
    """What the server trains: the pilot, its inverse and the critic, with weights from the run's streams."""

    def __init__(
        self, attack: FeatureSpaceHijacking, seed: int, input_shape: tuple[int, int, int], z_shape: tuple[int, ...]
    ) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            draw_weights(seed)
            self.pilot = pilot(input_shape, z_shape)
            self.inverse = decoder(attack.decoder, z_shape, input_shape)
            self.critic = critic(z_shape, attack.width, attack.blocks)


def restored(
    attack: FeatureSpaceHijacking, learned: State, seed: int, input_shape: tuple[int, int, int]
) -> tuple[Hijack, dict[str, torch.optim.Adam]]:
    """The networks and their optimisers as they were kept."""
    networks = Hijack(attack, seed, input_shape, z_shape_of(learned)).to(dtype_of(learned))
    optimizers = _optimizers(attack, networks)
    restore(networks, optimizers, learned)
    return networks, optimizers


def _optimizers(attack: FeatureSpaceHijacking, networks: Hijack) -> dict[str, torch.optim.Adam]:
    both = [*networks.pilot.parameters(), *networks.inverse.parameters()]
    return {
        "pilot": torch.optim.Adam(both, lr=attack.pilot_lr),
        "critic": torch.optim.Adam(networks.critic.parameters(), lr=attack.critic_lr),
    }


class _Hijacking(MessageHook):
    """One round of it. A shared server's messages come in the planned order on every engine."""

    party: Party = "main_server"
    channels = frozenset({Channel.SMASHED, Channel.CUT_GRADIENTS})

    def __init__(self, attack: FeatureSpaceHijacking, start: AttackStart) -> None:
        self._attack, self._start = attack, start
        self._z: dict[int, torch.Tensor] = {}
        self._tampered: dict[tuple[int, int], Tampered] = {}
        self._networks: Hijack | None = None
        self._public = torch.empty(0)
        if start.learned:
            self._networks, self._optimizers = restored(attack, start.learned, start.seed, start.input_shape)
            self._z_shape = z_shape_of(start.learned)

    def change(self, message: Message, labels: torch.Tensor | None) -> Message:
        if message.channel is Channel.SMASHED:
            self._z[message.client] = message.tensor.detach()
            return message
        began = time.perf_counter()
        z = self._z.pop(message.client)
        with torch.enable_grad():
            gradient = self._step(z, message)
        sent, done = replaced(message, gradient, time.perf_counter() - began)
        key = (self._start.number, message.client)
        self._tampered[key] = self._tampered.get(key, Tampered()).plus(done)
        return replace(message, tensor=sent)

    def _step(self, z: torch.Tensor, message: Message) -> torch.Tensor:
        """∂ mean D(z) / ∂z, [B, …]; then the server's networks take a step."""
        networks = self._open(z)
        draw = rng.torch_stream(self._start.seed, "hijack", message.round, message.client, message.step)
        x = self._public[torch.randint(len(self._public), (len(z),), generator=draw)]
        imitated = networks.pilot(x)
        rebuilt = functional.mse_loss(networks.inverse(imitated), x)
        known = z.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(networks.critic(known).mean(), [known])
        fake = imitated.detach()
        mix = torch.rand((len(z), 1, 1, 1), generator=draw, dtype=z.dtype)
        apart = networks.critic(fake).mean() - networks.critic(z).mean()
        judged = apart + self._attack.penalty * gradient_penalty(networks.critic, z, fake, mix)
        for kind, loss in (("pilot", rebuilt), ("critic", judged)):
            self._optimizers[kind].zero_grad()
            loss.backward()
            self._optimizers[kind].step()
        return gradient

    def _open(self, z: torch.Tensor) -> Hijack:
        attack, start = self._attack, self._start
        if self._networks is None:
            self._z_shape = tuple(z.shape[1:])
            self._networks = Hijack(attack, start.seed, start.input_shape, self._z_shape).to(z.dtype)
            self._optimizers = _optimizers(attack, self._networks)
        if not len(self._public):
            self._public, _ = public_samples(attack, start, attack.public)
        return self._networks

    def memory(self) -> Memory:
        if self._networks is None:
            return {}
        return {path_of(self._attack): kept(self._networks, self._optimizers, self._z_shape)}

    def records(self) -> Mapping[str, Mapping[Any, Any]]:
        return {"tampered": self._tampered}
