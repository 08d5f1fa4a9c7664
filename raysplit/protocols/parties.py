"""The local step that all protocols share: what a client and the main server each do with one batch.

reference/split-learning.md 1.1 and 1.3. Smashed data are a new leaf on the server's side; gradients are per sample and point to
point. Parties know nothing of rounds, channels or Ray.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from raysplit.models.flat import FlatPortion
from raysplit.models.network import Portions
from raysplit.training import Training, load_optimizer_state, optimizer_state

State = dict[str, torch.Tensor]


class Score(NamedTuple):
    """Of one batch: mean cross-entropy (nats) and the number classified rightly, before the step."""

    loss: float
    correct: int


class Seat:
    """A portion of the model with its optimiser, in which one party sits at a time."""

    def __init__(self, modules: list[nn.Sequential], optimizer: Callable[[list[nn.Parameter]], torch.optim.Optimizer]):
        self.flat = FlatPortion(modules)
        self.optimizer = optimizer(self.flat.trainable)

    def enter(self, vector: torch.Tensor, state: State | None, lr: float) -> None:
        """Sit down with a portion (flat, [d]) and an optimiser state (None: fresh)."""
        self.flat.vector.copy_(vector)
        load_optimizer_state(self.optimizer, state)
        self.optimizer.param_groups[0]["lr"] = lr

    def state(self) -> State:
        return optimizer_state(self.optimizer)


class ClientSeat(Seat):
    """A client: head and, U-shaped, tail. Uncut models are all head and step with ``whole_step``."""

    def __init__(self, portions: Portions, training: Training) -> None:
        super().__init__(portions.client, lambda p: training.optimizer.optimizer(p, training.lr))
        self.head = portions.head
        self.tail = portions.tail
        self._z: torch.Tensor | None = None

    def whole_step(self, x: torch.Tensor, y: torch.Tensor) -> Score:
        self.optimizer.zero_grad()
        logits = self.head(x)
        loss = functional.cross_entropy(logits, y)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return _score(loss, logits, y)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Smashed data Z [B, …], detached; the graph stays here until ``backward``."""
        self.optimizer.zero_grad()
        self._z = self.head(x)
        return self._z.detach()

    def tail_step(self, features: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, Score]:
        """U-shaped: loss and its gradient at the second cut, [B, …]; the tail steps with the head in ``backward``."""
        assert self.tail is not None
        leaf = features.detach().requires_grad_()
        logits = self.tail(leaf)
        loss = functional.cross_entropy(logits, y)
        loss.backward()  # type: ignore[no-untyped-call]
        assert leaf.grad is not None
        return leaf.grad, _score(loss, logits, y)

    def backward(self, cut_gradients: torch.Tensor) -> None:
        """Finish the step with ∂L/∂Z, [B, …]."""
        assert self._z is not None
        self._z.backward(cut_gradients)  # type: ignore[no-untyped-call]
        self._z = None
        self.optimizer.step()


class ServerSeat(Seat):
    """The main server's portion, or one client's replica of it."""

    def __init__(self, portions: Portions, training: Training) -> None:
        spec = training.server_optimizer or training.optimizer
        super().__init__(portions.server, lambda p: spec.optimizer(p, training.lr))
        assert portions.body is not None
        self.body = portions.body
        self._leaf: torch.Tensor | None = None
        self._features: torch.Tensor | None = None

    def step(self, z: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, Score]:
        """Forward, loss, backward, step; returns ∂L/∂Z, per sample, taken before the step."""
        self.optimizer.zero_grad()
        leaf = z.detach().requires_grad_()
        logits = self.body(leaf)
        loss = functional.cross_entropy(logits, y)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        assert leaf.grad is not None
        return leaf.grad, _score(loss, logits, y)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """U-shaped: features at the second cut, [B, …]; the graph stays here until ``backward``."""
        self.optimizer.zero_grad()
        self._leaf = z.detach().requires_grad_()
        self._features = self.body(self._leaf)
        return self._features.detach()

    def backward(self, feature_gradients: torch.Tensor) -> torch.Tensor:
        """U-shaped: step with the client's gradient of the features; returns ∂L/∂Z."""
        assert self._features is not None and self._leaf is not None
        self._features.backward(feature_gradients)  # type: ignore[no-untyped-call]
        self.optimizer.step()
        gradient = self._leaf.grad
        assert gradient is not None
        self._leaf = self._features = None
        return gradient


def _score(loss: torch.Tensor, logits: torch.Tensor, y: torch.Tensor) -> Score:
    with torch.no_grad():
        return Score(float(loss.detach()), int((logits.argmax(1) == y).sum()))
