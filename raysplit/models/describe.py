"""What a model is made of, stage by stage: shapes, sizes and forward FLOPs, found by passing one sample through.

A FLOP is one multiplication or one addition, so a multiply-add is two. Counted are convolutions and matrix products, as
in the literature; biases, activations, pooling and normalisation are not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from raysplit.errors import ScenarioError, in_words
from raysplit.models.fixed import travelling_buffers
from raysplit.models.network import ModelSpec


@dataclass(frozen=True)
class StageFacts:
    """One stage. ``shape``: its output without the batch; ``flops``: forward, per sample, 2 × multiply-adds.

    ``buffers``: floating elements beside the parameters (BatchNorm statistics), which travel and are averaged.
    ``frozen``: so many of the ``parameters`` do not train.
    """

    name: str
    shape: tuple[int, ...]
    parameters: int
    buffers: int
    flops: int
    frozen: int = 0

    @property
    def smashed(self) -> int:
        """Numbers per sample that cross the wire each way where the model is cut after this stage."""
        return prod(self.shape)


def describe(spec: ModelSpec) -> list[StageFacts]:
    """The stages of a model in order; raises ``ScenarioError`` where a stage does not take what the one before it
    gives."""
    with torch.random.fork_rng(
        devices=[]
    ):  # not torch's "meta" device, which imports its compiler to know a ReLU's shape
        stages = spec.stages()
    x = torch.ones(1, *spec.input_shape)
    facts = []
    for name, stage in stages:
        buffers = _elements(buffer for _, buffer in travelling_buffers(stage))
        stage.eval()  # BatchNorm takes a batch of one, dropout draws nothing
        with torch.no_grad(), _FlopCount() as count:
            try:
                y = stage(x)
            except Exception as error:  # of a layer that may be the user's own
                raise ScenarioError(
                    f"{type(spec).__name__}'s stage {name!r} cannot take samples of shape {tuple(x.shape[1:])}: "
                    f"{in_words(error)}"
                ) from error
        if not torch.is_tensor(y):
            raise ScenarioError(
                f"{type(spec).__name__}'s stage {name!r} gives a {type(y).__name__}; a stage passes one tensor"
            )
        parameters = list(stage.parameters())
        frozen = _elements(p for p in parameters if not p.requires_grad)
        facts.append(StageFacts(name, tuple(y.shape[1:]), _elements(parameters), buffers, count.flops, frozen))
        x = y
    return facts


def _elements(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors)


class _FlopCount(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what passes through torch's dispatcher, so that a user's own layers count too.

    torch.utils.flop_counter says the same (tests hold the two together), but costs seconds of imports.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """torch would import its compiler, to keep it away from ``__torch_dispatch__``; nothing here is compiled."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        aten = torch.ops.aten
        match func.overloadpacket:
            case aten.convolution:
                x, weight, transposed = args[0], args[1], args[6]
                self.flops += 2 * (x if transposed else out).numel() * weight[0].numel()
            case aten.mm | aten.bmm:
                self.flops += 2 * out.numel() * args[0].shape[-1]
            case aten.addmm | aten.baddbmm:
                self.flops += 2 * out.numel() * args[1].shape[-1]
            case aten.mkldnn_rnn_layer:  # an LSTM's two matrices in every step of every sequence
                steps = args[0].shape[0] * args[0].shape[1]
                self.flops += 2 * steps * (args[1].numel() + args[2].numel())
        return out
