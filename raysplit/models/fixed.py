"""What stays as it is while a network trains: frozen parameters, the statistics of BatchNorm in evaluation mode, and
buffers of whole numbers.

All parties know it from the beginning, like the architecture: it is no part of a portion's vector, so it never travels,
is never averaged and cannot be poisoned. A forward pass that changes it all the same would give each model slot a
network of its own, and other bits on every number of hosts, so that is refused: by two made-up samples when a network
is built, and after every step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import nn

from raysplit.errors import ScenarioError


def learns(modules: Iterable[nn.Module]) -> bool:
    """Whether there is a parameter to train."""
    return any(parameter.requires_grad for module in modules for parameter in module.parameters())


def travelling_buffers(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """The floating buffers that training may change, by name: all but the statistics of BatchNorm in evaluation
    mode."""
    still = {id(buffer) for inner in module.modules() if _rests(inner) for buffer in inner.buffers(recurse=False)}
    for name, buffer in module.named_buffers():
        if torch.is_floating_point(buffer) and id(buffer) not in still:
            yield name, buffer


def fixed_tensors(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Frozen parameters and the floating statistics of BatchNorm in evaluation mode, by name."""
    yield from ((name, parameter) for name, parameter in module.named_parameters() if not parameter.requires_grad)
    moving = {id(buffer) for _, buffer in travelling_buffers(module)}
    for name, buffer in module.named_buffers():
        if torch.is_floating_point(buffer) and id(buffer) not in moving:
            yield name, buffer


class Fixed:
    """Watches over what must stay as it is. Networks without any cost nothing to watch, nor does BatchNorm's
    ``num_batches_tracked``, which nobody reads and which may count."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self._frozen: list[tuple[str, nn.Module, str, tuple[int, int]]] = []
        self._whole: list[tuple[str, nn.Module, str, torch.Tensor]] = []
        for module in modules:
            for path, inner in module.named_modules():
                for key, parameter in inner._parameters.items():
                    if parameter is not None and not parameter.requires_grad:
                        self._frozen.append((_joined(path, key), inner, key, _state(parameter)))
                for key, buffer in inner._buffers.items():
                    if buffer is None or torch.is_floating_point(buffer) or _counts(inner, key):
                        continue
                    self._whole.append((_joined(path, key), inner, key, buffer.clone()))

    def check(self) -> None:
        """Raise ``ScenarioError`` for the first thing that is no longer as it was."""
        for name, module, key, before in self._frozen:
            parameter = module._parameters[key]
            if parameter is None or _state(parameter) != before:
                raise ScenarioError(
                    f"the network's {name!r} is frozen (requires_grad=False), but a forward pass changes it; frozen "
                    "parameters do not travel with a portion, so make it a floating buffer, or leave it as it is"
                )
        for name, module, key, kept in self._whole:
            buffer = module._buffers[key]
            if buffer is None or not torch.equal(buffer, kept):
                raise ScenarioError(
                    f"the network's {name!r} is a buffer of {_kind(kept)}, but a forward pass changes it; only "
                    "floating buffers travel with a portion, so make it one of floats, or leave it as it is"
                )


def _rests(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.batchnorm._NormBase) and not module.training


def _counts(module: nn.Module, key: str) -> bool:
    return isinstance(module, nn.modules.batchnorm._NormBase) and key == "num_batches_tracked"


def _joined(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _state(parameter: torch.Tensor) -> tuple[int, int]:
    """What an operation in place, or an assignment to ``data``, moves."""
    return parameter._version, parameter.data_ptr()


def _kind(buffer: torch.Tensor) -> str:
    if buffer.dtype is torch.bool:
        return "True and False"
    return "complex numbers" if buffer.is_complex() else "whole numbers"
