"""The sizes and FLOPs of a scenario's portions, from its network's stages alone: what every other cost is computed
from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from raysplit.defenses.messages.smashed import encoded_sample
from raysplit.models.describe import StageFacts, describe
from raysplit.models.network import ModelSpec, check_cut
from raysplit.models.outline import outline
from raysplit.scenario.scenario import Scenario


@dataclass(frozen=True)
class PortionCosts:
    """``parameters``, of which ``frozen`` ones do not train; ``buffers``: floats of floating buffers; ``forward``,
    ``backward``: FLOPs a sample."""

    parameters: int = 0
    buffers: int = 0
    forward: float = 0.0
    backward: float = 0.0
    frozen: int = 0

    @property
    def floats(self) -> int:
        """What travels when the portion does."""
        return self.parameters - self.frozen + self.buffers

    @property
    def learns(self) -> bool:
        """Whether there is a parameter to train."""
        return self.parameters > self.frozen

    @property
    def step(self) -> float:
        """FLOPs a sample of a forward and a backward pass."""
        return self.forward + self.backward


@dataclass(frozen=True)
class CutCosts:
    """A cut model. ``head`` and ``tail`` are the client's, ``body`` the server's; uncut, the head is everything.

    ``smashed``, ``features``: floats a sample at the first and (U-shaped, else 0) at the second cut; ``float_bytes``: 4
    or 8; ``state_bytes``: optimiser state that travels with a hand-over, 0 where it does not.
    """

    head: PortionCosts
    body: PortionCosts
    tail: PortionCosts
    smashed: int
    features: int
    float_bytes: int
    state_bytes: int
    encoded_smashed: int | None = None
    """Bytes of a sample's smashed data where a defence encodes them"""

    @property
    def smashed_bytes(self) -> int:
        """Of a sample's smashed data, as they cross the channel."""
        return self.smashed * self.float_bytes if self.encoded_smashed is None else self.encoded_smashed

    @property
    def client_floats(self) -> int:
        return self.head.floats + self.tail.floats

    @property
    def client_bytes(self) -> int:
        """The client portion, as it crosses ``weights`` and ``updates``."""
        return self.float_bytes * self.client_floats

    @property
    def handover_bytes(self) -> int:
        """What one hop of a hand-over carries."""
        return self.client_bytes + self.state_bytes

    @property
    def answered(self) -> int:
        """Floats a sample of the cut gradients; none go to a head that is frozen."""
        return self.smashed if self.head.learns else 0

    @property
    def server_bytes(self) -> int:
        return self.float_bytes * self.body.floats

    @property
    def client_step(self) -> float:
        """FLOPs a sample of a client's step."""
        return self.head.step + self.tail.step


def cut_costs(scenario: Scenario) -> CutCosts:
    """The costs of a scenario's model, cut as its protocol cuts it. Nothing is trained and no data are read."""
    split, u_shaped = scenario.protocol.server != "none", scenario.protocol.u_shaped
    stages = describe(scenario.model)
    first, last = check_cut(scenario.model, split, u_shaped)
    head = _portion(stages[:first], input_gradient=False)
    floats = math.prod(stages[first - 1].shape) if split else 0
    float_bytes = torch.empty(0, dtype=scenario.training.dtype).element_size()
    return CutCosts(
        head=head,
        body=_portion(stages[first:last] if split else [], input_gradient=head.learns),
        tail=_portion(stages[last:] if split else [], input_gradient=True),
        smashed=floats,
        features=math.prod(stages[last - 1].shape) if u_shaped else 0,
        float_bytes=float_bytes,
        state_bytes=_travelling(scenario, first, last),
        encoded_smashed=encoded_sample(scenario.message_defenses, floats, float_bytes),
    )


def _portion(stages: Sequence[StageFacts], input_gradient: bool) -> PortionCosts:
    """A backward pass costs a stage its forward FLOPs once for its weights, if it has any, and once for its inputs.

    ``input_gradient``: whether the portion's own input needs a gradient (it does behind a cut whose head learns).
    Otherwise no stage up to and including the first with weights to train computes one: nothing before it could use it.
    """
    backward = 0.0
    for stage in stages:
        learns = stage.parameters > stage.frozen
        backward += learns * stage.flops + input_gradient * stage.flops
        input_gradient = input_gradient or learns
    return PortionCosts(
        parameters=sum(stage.parameters for stage in stages),
        buffers=sum(stage.buffers for stage in stages),
        forward=float(sum(stage.flops for stage in stages)),
        backward=float(backward),
        frozen=sum(stage.frozen for stage in stages),
    )


def _travelling(scenario: Scenario, first: int, last: int) -> int:
    """Bytes that the client's optimiser remembers after a step, found by taking one on zeros of the portion's
    shapes."""
    if scenario.client_state != "travels":
        return 0
    state: dict[str, torch.Tensor] = {}
    zeros = [torch.zeros(shape, dtype=scenario.training.dtype) for shape in _shapes(scenario.model, first, last)]
    with torch.no_grad():
        scenario.training.optimizer.step(zeros, [torch.zeros_like(z) for z in zeros], state, 0.0)
    return sum(tensor.numel() * tensor.element_size() for tensor in state.values())


def _shapes(spec: ModelSpec, first: int, last: int) -> list[torch.Size]:
    stages = outline(spec)
    client = [module for _, module in [*stages[:first], *stages[last:]]]
    return [p.shape for module in client for p in module.parameters() if p.requires_grad]
