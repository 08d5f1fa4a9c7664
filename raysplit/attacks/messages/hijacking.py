"""What hijackings of clients by the main server share: its own samples, networks that go on learning, and records."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping

import torch
from torch import nn

from raysplit import rng
from raysplit.attacks.learned_state import learned_state
from raysplit.attacks.messages.hijacking_networks import check_grid
from raysplit.attacks.messages.hook_attack import AttackStart, HookAttack
from raysplit.attacks.messages.tampering import Tampered
from raysplit.channels.message import Message
from raysplit.errors import ScenarioError
from raysplit.memory.memory import State
from raysplit.models.describe import describe
from raysplit.models.network import ModelSpec, check_cut
from raysplit.parts.contract import contract

Shape = tuple[int, ...]
Z_SHAPE = "z_shape"
"""Of one sample's smashed data, among what a hijacking has learned."""


@contract("a hijacking")
class Hijacking(HookAttack):
    """An attack whose main server teaches clients to send what it can invert; ``HijackedInversion`` asks it for x."""

    def fits(self, model: ModelSpec) -> None:
        first, _ = check_cut(model, split=True, u_shaped=False)
        check_grid(type(self).__name__, describe(model)[first - 1].shape)

    @abstractmethod
    def inverse(self, learned: State, seed: int, input_shape: tuple[int, int, int]) -> nn.Module:
        """From smashed data to inputs, as it was learned."""


def draw_weights(seed: int) -> None:
    """Within ``torch.random.fork_rng``: where the weights of a hijacking's networks begin."""
    torch.manual_seed(rng.key(seed, "hijack networks") >> 65)


def kept(networks: nn.Module, optimizers: Mapping[str, torch.optim.Adam], z_shape: Shape) -> State:
    """Networks and optimisers as they are, for the next round's hook."""
    return {Z_SHAPE: torch.tensor(z_shape), **learned_state(networks, optimizers)}


def z_shape_of(learned: State) -> Shape:
    return tuple(int(size) for size in learned[Z_SHAPE])


def dtype_of(learned: State) -> torch.dtype:
    return next(tensor.dtype for name, tensor in learned.items() if name.startswith("net/"))


def replaced(message: Message, gradient: torch.Tensor, seconds: float) -> tuple[torch.Tensor, Tampered]:
    """``gradient``, laid out as the message's was, and the record of what it was sent for."""
    sent = torch.empty_like(message.tensor).copy_(gradient)
    moved, length = (sent - message.tensor).norm(), message.tensor.norm()
    change = float(moved / length) if length > 0 else 0.0
    return sent, Tampered(1, 1, change, seconds=seconds)


def public_samples(attack: HookAttack, start: AttackStart, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """``count`` test samples in client order, or all there are: x as the network sees them, y int64. Raises
    ``ScenarioError`` where the population has none."""
    found = list(_by_client(type(attack).__name__, start, count))
    return torch.cat([x for x, _ in found])[:count], torch.cat([y for _, y in found])[:count]


def _by_client(name: str, start: AttackStart, count: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    population, found = start.open(), 0
    for client in range(population.info.clients):
        x, y = population.test(client)
        if len(x):
            yield start.inputs(x), y
        found += len(x)
        if found >= count:
            return
    if not found:
        raise ScenarioError(
            f"{name} trains on test samples, but the population {population.info.name!r} has none; prepare it with a "
            "test share"
        )
