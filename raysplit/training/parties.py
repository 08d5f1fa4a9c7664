"""The local step that all protocols share: what a client and the main server each do with one batch.

reference/split-learning.md 1.1 and 1.3. Smashed data are a new leaf on the server's side; gradients are per sample and
point to point. Parties know nothing of rounds, channels or Ray.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from raysplit.memory.memory import State
from raysplit.models.dropout import dropouts_in, key_dropout
from raysplit.models.flat import FlatPortion
from raysplit.models.network import Portions
from raysplit.training.optimizers import OptimizerSpec, copied_state
from raysplit.training.settings import Training


class Score(NamedTuple):
    """Of one batch: mean cross-entropy (nats) and the number classified rightly, before the step."""

    loss: float
    correct: int


class ModelSlot:
    """A portion of the model with its optimiser, in which one party sits at a time."""

    def __init__(self, modules: list[nn.Sequential], optimizer: OptimizerSpec) -> None:
        self.flat = FlatPortion(modules)
        self._dropouts = dropouts_in(modules)
        self._optimizer = optimizer
        self._state: State = {}
        self._lr = math.nan

    def enter(self, vector: torch.Tensor, state: State | None, lr: float) -> None:
        """Sit down with a portion (flat, [d]) and an optimiser state (None: fresh)."""
        self.flat.vector.copy_(vector)
        self._state = copied_state(state, self.flat.trainable)
        self._lr = lr

    def begin(self, seed: int, round: int, client: int, step: int) -> None:
        """Whose step comes next: names the masks of dropout layers. Without any it costs nothing."""
        if self._dropouts:
            key_dropout(self._dropouts, seed, round, client, step)

    def state(self) -> State:
        return copied_state(self._state, self.flat.trainable)

    def forget(self) -> None:
        """The optimiser is made anew: its next step is a first one."""
        self._state = {}

    def zero_grad(self) -> None:
        for parameter in self.flat.trainable:
            parameter.grad = None

    def step(self) -> None:
        parameters = self.flat.trainable
        with torch.no_grad():
            self._optimizer.step(parameters, [p.grad for p in parameters], self._state, self._lr)


class ClientSlot(ModelSlot):
    """A client: head and, U-shaped, tail. Uncut models are all head and step with ``whole_step``."""

    def __init__(self, portions: Portions, training: Training) -> None:
        super().__init__(portions.client, training.optimizer)
        self.head = portions.head
        self.tail = portions.tail
        self._z: torch.Tensor | None = None

    def whole_step(self, x: torch.Tensor, y: torch.Tensor) -> Score:
        self.zero_grad()
        logits = self.head(x)
        loss = functional.cross_entropy(logits, y)
        loss.backward()  # type: ignore[no-untyped-call]
        self.step()
        return _score(loss, logits, y)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Smashed data Z [B, …], detached; the graph stays here until ``backward``."""
        self.zero_grad()
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
        self.step()

    def discard(self) -> None:
        """No gradient comes back: let go of what the forward pass kept."""
        self._z = None


class ServerSlot(ModelSlot):
    """The main server's portion, or one client's replica of it."""

    def __init__(self, portions: Portions, training: Training) -> None:
        super().__init__(portions.server, training.server_optimizer or training.optimizer)
        assert portions.body is not None
        self.body = portions.body
        self._leaf: torch.Tensor | None = None
        self._features: torch.Tensor | None = None

    def whole_step(self, z: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, Score]:
        """Forward, loss, backward, step; returns ∂L/∂Z, per sample, taken before the step."""
        answer = self.gradients(z, y)
        self.step()
        return answer

    def gradients(self, z: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, Score]:
        """``whole_step`` without the step: the portion's gradients stay with its parameters."""
        self.zero_grad()
        leaf = z.detach().requires_grad_()
        logits = self.body(leaf)
        loss = functional.cross_entropy(logits, y)
        loss.backward()  # type: ignore[no-untyped-call]
        assert leaf.grad is not None
        return leaf.grad, _score(loss, logits, y)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """U-shaped: features at the second cut, [B, …]; the graph stays here until ``backward``."""
        self.zero_grad()
        self._leaf = z.detach().requires_grad_()
        self._features = self.body(self._leaf)
        return self._features.detach()

    def backward(self, feature_gradients: torch.Tensor) -> torch.Tensor:
        """U-shaped: step with the client's gradient of the features; returns ∂L/∂Z."""
        gradient = self.feature_gradients(feature_gradients)
        self.step()
        return gradient

    def feature_gradients(self, feature_gradients: torch.Tensor) -> torch.Tensor:
        """``backward`` without the step."""
        assert self._features is not None and self._leaf is not None
        self._features.backward(feature_gradients)  # type: ignore[no-untyped-call]
        gradient = self._leaf.grad
        assert gradient is not None
        self._leaf = self._features = None
        return gradient


def _score(loss: torch.Tensor, logits: torch.Tensor, y: torch.Tensor) -> Score:
    with torch.no_grad():
        return Score(float(loss.detach()), int((logits.argmax(1) == y).sum()))
