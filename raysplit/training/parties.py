"""The portions that parties train: forward and backward passes through a slot that one party holds at a time.

Slots know nothing of rounds, channels or Ray.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn
from torch.nn import functional

from raysplit.channels.message import Score
from raysplit.memory.memory import State
from raysplit.models.fixed import Fixed
from raysplit.models.flat import FlatPortion
from raysplit.models.keyed import key_layers, keyed_layers_in
from raysplit.models.network import Portions
from raysplit.training.optimizers import Gradients, OptimizerSpec, copied_state
from raysplit.training.per_example.layer_passes import LayerPasses
from raysplit.training.settings import Training


class ModelSlot:
    """A portion of the model with its optimiser, held by one party at a time."""

    def __init__(self, modules: list[nn.Sequential], optimizer: OptimizerSpec) -> None:
        self.flat = FlatPortion(modules)
        self._fixed = Fixed(modules)
        self._keyed = keyed_layers_in(modules)
        self._optimizer = optimizer
        self._state: State = {}
        self._lr = math.nan
        self._modules = modules
        self.key = (0, 0, 0, 0)
        """(seed, round, client, step) of the step under way"""
        self.passes: LayerPasses | None = None
        """What goes through the layers, where a gradient rule asks for it by ``watch_layers``"""

    def watch_layers(self) -> None:
        """Keep what goes through the layers, for gradients of single samples."""
        self.passes = LayerPasses(self._modules)

    def enter(self, vector: torch.Tensor, state: State | None, lr: float) -> None:
        """Take over a portion (flat, [d]) and an optimiser state (None: fresh)."""
        self.flat.vector.copy_(vector)
        self._state = copied_state(state, self.flat.trainable)
        self._lr = lr

    def begin(self, seed: int, round: int, client: int, step: int) -> None:
        """Whose step comes next: names what layers draw, and the noise of a private step."""
        self.key = (seed, round, client, step)
        if self._keyed:
            key_layers(self._keyed, seed, round, client, step)

    def state(self) -> State:
        return copied_state(self._state, self.flat.trainable)

    def forget(self) -> None:
        """The optimiser is made anew: its next step is a first one."""
        self._state = {}

    def zero_grad(self) -> None:
        for parameter in self.flat.trainable:
            parameter.grad = None
        if self.passes is not None:
            self.passes.clear()

    @property
    def gradients(self) -> Gradients:
        """What backward passes since ``zero_grad`` left with the parameters."""
        return [parameter.grad for parameter in self.flat.trainable]

    def step(self, gradients: Gradients | None = None) -> None:
        """One optimiser step, on ``self.gradients`` unless others are given. Raises ``ScenarioError`` where the passes
        before it changed what must stay as it is."""
        self._fixed.check()
        known = self.gradients if gradients is None else gradients
        with torch.no_grad():
            self._optimizer.step(self.flat.trainable, known, self._state, self._lr)


class ClientSlot(ModelSlot):
    """A client: head and, U-shaped, tail. Uncut models are all head."""

    def __init__(self, portions: Portions, training: Training) -> None:
        super().__init__(portions.client, training.optimizer)
        self.head = portions.head
        self.tail = portions.tail

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The head's output [B, …], smashed data or logits, with its graph."""
        self.zero_grad()
        output: torch.Tensor = self.head(x)
        return output

    def tail_pass(self, features: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, Score]:
        """U-shaped: the gradient of the loss at the second cut, [B, …]; those of the tail stay with its parameters."""
        assert self.tail is not None
        leaf = features.detach().requires_grad_()
        logits = self.tail(leaf)
        loss = functional.cross_entropy(logits, y)
        loss.backward()  # type: ignore[no-untyped-call]
        return gradient_of(leaf), score_of(loss, logits, y)


@dataclass(frozen=True, slots=True)
class ServerPass:
    """A batch that has gone through the server portion, forward and back. ``z`` [B, …]: as it came. With labels ``y``
    [B] the loss was taken here, else, U-shaped, ``received`` is ∂L/∂features, per sample and of the mean loss."""

    z: torch.Tensor
    y: torch.Tensor | None = None
    received: torch.Tensor | None = None


class ServerGradientRule(Protocol):
    def gradients(self, portion: ServerSlot, batch: ServerPass) -> Gradients:
        """A gradient for each of ``portion.flat.trainable``, in their order."""
        ...


class ServerSlot(ModelSlot):
    """The main server's portion, or one client's replica of it."""

    def __init__(self, portions: Portions, training: Training, rule: ServerGradientRule | None = None) -> None:
        """``rule``: how the gradients on which it steps come about; None: those of the batch's mean loss."""
        super().__init__(portions.server, training.server_optimizer or training.optimizer)
        assert portions.body is not None
        self.body = portions.body
        self._leaf: torch.Tensor | None = None
        self._features: torch.Tensor | None = None
        self._rule = rule
        self._batch: ServerPass | None = None

    def step(self, gradients: Gradients | None = None) -> None:
        """One optimiser step on the batch that has gone through, or on ``gradients``."""
        if gradients is None and self._rule is not None and self.flat.trainable:
            assert self._batch is not None
            gradients = self._rule.gradients(self, self._batch)
        super().step(gradients)

    def whole_step(self, z: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, Score]:
        """Forward, loss, backward, step; returns ∂L/∂Z, per sample, taken before the step."""
        answer = self.loss_pass(z, y)
        self.step()
        return answer

    def loss_pass(self, z: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, Score]:
        """Forward, loss and backward; returns ∂L/∂Z, per sample. The portion's gradients stay with its parameters."""
        self.zero_grad()
        leaf = z.detach().requires_grad_()
        logits = self.body(leaf)
        loss = functional.cross_entropy(logits, y)
        loss.backward()  # type: ignore[no-untyped-call]
        self._batch = ServerPass(leaf.detach(), y)
        return gradient_of(leaf), score_of(loss, logits, y)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """U-shaped: features at the second cut, [B, …]; the graph stays here until ``backward``."""
        self.zero_grad()
        self._leaf = z.detach().requires_grad_()
        self._features = self.body(self._leaf)
        return self._features.detach()

    def backward(self, feature_gradients: torch.Tensor) -> torch.Tensor:
        """U-shaped: ∂L/∂Z from the client's gradient of the features; the portion's stay with its parameters."""
        assert self._features is not None and self._leaf is not None
        backward(self._features, feature_gradients)
        gradient = gradient_of(self._leaf)
        self._batch = ServerPass(self._leaf.detach(), None, feature_gradients)
        self._leaf = self._features = None
        return gradient


def backward(output: torch.Tensor, gradient: torch.Tensor | None) -> None:
    """Take ``gradient`` (None: of a loss) back from ``output`` to the parameters before it; nothing where all of them
    are frozen."""
    if output.requires_grad:
        output.backward(gradient)  # type: ignore[no-untyped-call]


def gradient_of(leaf: torch.Tensor) -> torch.Tensor:
    """What a backward pass left with a party's input: zeros where what is behind it is constant, which
    ``scenario/network_check.py`` allows where nobody before it learns."""
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad


def score_of(loss: torch.Tensor, logits: torch.Tensor, y: torch.Tensor) -> Score:
    """Of a batch whose mean loss and logits [B, classes] are known; of no samples there is no loss."""
    if not len(y):
        return Score(0.0, 0)
    with torch.no_grad():
        return Score(float(loss.detach()), int((logits.argmax(1) == y).sum()))
