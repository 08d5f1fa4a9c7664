"""A network's stages without a number in them: names, shapes and what is frozen, at no cost in memory."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import nn

from raysplit.errors import ScenarioError


class Stages(Protocol):
    @property
    def input_shape(self) -> tuple[int, int, int]: ...

    def stages(self) -> list[tuple[str, nn.Module]]: ...


def outline(spec: Stages) -> list[tuple[str, nn.Module]]:
    """The stages on torch's device "meta". Raises ``ScenarioError`` for a layer whose size would come with its first
    batch."""
    with torch.device("meta"), warnings.catch_warnings():
        # Weights that ``stages`` reads from a file find no memory here, of which torch warns once a tensor.
        warnings.filterwarnings("ignore", message=".*copying from a non-meta parameter", category=UserWarning)
        stages = spec.stages()
    lazy = _lazy_in(stages)
    if lazy:
        name, module = lazy[0]
        raise ScenarioError(
            f"{type(spec).__name__}'s {name!r} is {module}, whose size comes only with its first batch; write "
            f"{_sized(spec, name)}"
        )
    return stages


def _lazy_in(stages: Sequence[tuple[str, nn.Module]]) -> list[tuple[str, str]]:
    """The layers without a size yet: path, class."""
    return [
        (f"{name}.{path}" if path else name, type(module).__name__)
        for name, stage in stages
        for path, module in stage.named_modules()
        if any(nn.parameter.is_lazy(tensor) for tensor in (*module._parameters.values(), *module._buffers.values()))
    ]


def _sized(spec: Stages, name: str) -> str:
    """The layer of that path with its size, as two made-up samples give it, in words."""
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            x = torch.ones(2, *spec.input_shape)
            stages = spec.stages()
            for _, stage in stages:
                x = stage(x)
    except Exception:  # of a layer that may be the user's own
        return "a layer of a given size"
    return f"nn.{dict(nn.ModuleDict(dict(stages)).named_modules())[name]}"
