"""The one network that the parties of a topology train together, made from the scenario's model.

``joint`` gives the model spec of that network: where there is one client portion and one server portion (``"pair"``) it
is the scenario's own. With one party or one task it draws the same initial weights as that.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from raysplit.errors import ScenarioError, first_line
from raysplit.models.network import ModelSpec, check_cut, stage_names
from raysplit.models.outline import outline
from raysplit.protocols.protocol import TrainingProtocol
from raysplit.protocols.topology import Along

AXIS: dict[Along, int] = {"height": 2, "width": 3}


def joint(spec: ModelSpec, protocol: TrainingProtocol) -> ModelSpec:
    """The spec of the network that is trained. Raises ``ScenarioError`` where the model does not fit the topology."""
    topology = protocol.topology
    match topology.kind:
        case "pair":
            return spec
        case "vertical":
            return _Vertical(spec, topology.parties, topology.along)
        case "extended":
            return _Extended(spec)
        case "multi_task":
            return _MultiTask(spec, topology.task_classes(spec.classes))


class PartyHeads(nn.Module):
    """M heads, each on its own block of the sample; their smashed data are concatenated along the axis that was cut."""

    def __init__(self, heads: list[nn.Sequential], along: Along) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)
        self._axis = AXIS[along]

    def views(self, x: torch.Tensor) -> list[torch.Tensor]:
        """[B, C, H, W] → what each party holds of it."""
        blocks = x.tensor_split(len(self.heads), dim=self._axis)
        return [block.contiguous(memory_format=torch.channels_last) for block in blocks]

    def each(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The smashed data of every party."""
        return [head(view) for head, view in zip(self.heads, self.views(x), strict=True)]

    def fuse(self, smashed: list[torch.Tensor]) -> torch.Tensor:
        return torch.cat(smashed, dim=self._axis) if len(smashed) > 1 else smashed[0]

    def parts(self, gradient: torch.Tensor, smashed: list[torch.Tensor]) -> list[torch.Tensor]:
        """The gradient of the fused smashed data → each party's part of it."""
        sizes = [z.shape[self._axis] for z in smashed]
        return list(torch.split(gradient, sizes, dim=self._axis))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fuse(self.each(x))


class TaskBodies(nn.Module):
    """One server portion a task. A task of fewer classes than the model reads its first outputs. As a module: the first
    task."""

    def __init__(self, bodies: list[nn.Sequential], classes: tuple[int, ...]) -> None:
        super().__init__()
        self.bodies = nn.ModuleList(bodies)
        self.classes = classes

    def logits(self, task: int, z: torch.Tensor) -> torch.Tensor:
        """[B, classes of the task]."""
        outputs: torch.Tensor = self.bodies[task](z)
        return outputs[:, : self.classes[task]]

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.logits(0, z)


@dataclass(frozen=True)
class _Joint(ModelSpec):
    base: ModelSpec

    @property
    def cut(self) -> str | None:
        return self.base.cut

    @property
    def cuts(self) -> Mapping[str, str]:
        return self.base.cuts

    @property
    def reads_bytes(self) -> bool:
        return self.base.reads_bytes

    @property
    def smashed_varies(self) -> bool:
        return self.base.smashed_varies

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return self.base.input_shape

    @property
    def classes(self) -> int:
        return self.base.classes

    def stages(self) -> list[tuple[str, nn.Module]]:
        return self.base.stages()


@dataclass(frozen=True)
class _Vertical(_Joint):
    parties: int
    along: Along

    def __post_init__(self) -> None:
        """The fused smashed data must be what the model's own head would have made, for the server portion to take
        them."""
        first, _ = check_cut(self.base, split=True, u_shaped=False)
        kind, axis = type(self.base).__name__, self.input_shape[AXIS[self.along] - 1]
        if self.parties > axis:
            raise ScenarioError(
                f"VerticalSplit cuts samples of {self.along} {axis} among {self.parties} parties; at most {axis} get "
                "anything"
            )
        head = nn.Sequential(OrderedDict(outline(self.base)[:first]))
        with torch.device("meta"):
            whole = head(torch.empty(2, *self.input_shape))
            if whole.dim() != 4:
                raise ScenarioError(
                    f"VerticalSplit concatenates along the {self.along} of smashed data, but {kind} cut at "
                    f"{self.base.cut!r} has none; cut earlier"
                )
            try:
                fused = PartyHeads([head] * self.parties, self.along)(torch.empty(2, *self.input_shape))
            except RuntimeError as error:
                raise ScenarioError(
                    f"VerticalSplit cuts the {self.along} {axis} of a sample among {self.parties} parties, which leaves "
                    f"blocks that {kind}'s head cannot take ({first_line(error)}); choose fewer parties"
                ) from error
        if fused.shape != whole.shape:
            raise ScenarioError(
                f"{self.parties} parties along the {self.along} make smashed data of {list(fused.shape[1:])}, but "
                f"{kind}'s server portion "
                f"behind {self.base.cut!r} takes {list(whole.shape[1:])}; choose fewer parties or an earlier cut"
            )

    @property
    def cut(self) -> str | None:
        return "heads"

    def stages(self) -> list[tuple[str, nn.Module]]:
        first, _ = check_cut(self.base, split=True, u_shaped=False)
        stages = self.base.stages()
        heads = [stages[:first], *(self.base.stages()[:first] for _ in range(self.parties - 1))]
        together = PartyHeads([nn.Sequential(OrderedDict(head)) for head in heads], self.along)
        return [("heads", together), *stages[first:]]


@dataclass(frozen=True)
class _Extended(_Joint):
    def __post_init__(self) -> None:
        if self.base.tail is None:
            raise ScenarioError(
                f"ExtendedSplit needs {type(self.base).__name__}(tail=…): the intermediary's last stage, behind which "
                "the server begins"
            )
        _, last = check_cut(self.base, split=True, u_shaped=True)
        if last == len(stage_names(self.base)):
            raise ScenarioError(
                f"{type(self.base).__name__}(tail={self.base.tail!r}) leaves the server of ExtendedSplit no stage; "
                "choose an earlier tail"
            )

    @property
    def cut(self) -> str | None:
        return self.base.tail


@dataclass(frozen=True)
class _MultiTask(_Joint):
    task_classes: tuple[int, ...]

    @property
    def classes(self) -> int:
        """Of the first task, whose server portion stands for all of them where the network is one module."""
        return self.task_classes[0]

    @property
    def cut(self) -> str | None:
        first, _ = check_cut(self.base, split=True, u_shaped=False)
        return stage_names(self.base)[first - 1]

    def stages(self) -> list[tuple[str, nn.Module]]:
        first, _ = check_cut(self.base, split=True, u_shaped=False)
        stages = self.base.stages()
        bodies = [stages[first:], *(self.base.stages()[first:] for _ in self.task_classes[1:])]
        together = TaskBodies([nn.Sequential(OrderedDict(body)) for body in bodies], self.task_classes)
        return [*stages[:first], ("tasks", together)]


def first_cut(spec: ModelSpec) -> int:
    """How many stages the first client of ``ExtendedSplit`` holds."""
    return check_cut(spec, split=True, u_shaped=True)[0]
