"""What training changes of a portion, its parameters and float buffers, as one flat vector, without a copy.

``FlatPortion`` moves every parameter of some modules into one vector and leaves views behind, so that loading a global
portion, averaging portions and storing an update are each one operation on one tensor.

Layout: all parameters in module order, each in its memory order (channels_last for convolutions), then all floating
buffers (BatchNorm statistics). ``parameters`` is the boundary: rules that measure distance see only
``vector[:parameters]``. What is frozen (``models/fixed.py``) is no part of the vector: a mean of equal numbers is not
those numbers to the last bit, and nobody may poison what is never sent. Integer buffers (``num_batches_tracked``) stay
with the module too: averaging them means nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import nn

from raysplit.models.fixed import fixed_tensors, travelling_buffers


class FlatPortion:
    """``vector``: [d] with ``d = parameters + buffers``; the modules' tensors are views of it. ``fixed``: what is
    frozen, by name."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        named = [(name, p) for module in modules for name, p in module.named_parameters() if p.requires_grad]
        buffers = [named_buffer for module in modules for named_buffer in travelling_buffers(module)]
        self.fixed = {name: tensor for module in modules for name, tensor in fixed_tensors(module)}
        self.parameters = sum(p.numel() for _, p in named)
        everything: list[tuple[str, torch.Tensor]] = [*named, *buffers]
        first = next(iter([*(tensor for _, tensor in everything), *self.fixed.values()]), torch.zeros(0))
        self.vector = torch.empty(sum(t.numel() for _, t in everything), dtype=first.dtype, device=first.device)
        self.names: list[str] = []
        self.views: list[torch.Tensor] = []
        self.trainable: list[nn.Parameter] = [p for _, p in named]
        offset = 0
        for name, tensor in everything:
            view = _like(self.vector[offset : offset + tensor.numel()], tensor)
            view.copy_(tensor.detach())
            tensor.data = view
            self.names.append(name)
            self.views.append(view)
            offset += tensor.numel()

    def named_tensors(self, vector: torch.Tensor) -> dict[str, torch.Tensor]:
        """A flat vector of this layout as ordinary contiguous tensors by name, as ``state_dict`` would give them."""
        tensors = {}
        offset = 0
        for name, view in zip(self.names, self.views, strict=True):
            tensors[name] = _like(vector[offset : offset + view.numel()], view).contiguous()
            offset += view.numel()
        return tensors

    def from_named(self, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
        """The inverse of ``named_tensors``; raises ``KeyError`` or ``ValueError`` for tensors of another model."""
        vector = torch.empty_like(self.vector)
        offset = 0
        for name, view in zip(self.names, self.views, strict=True):
            tensor = tensors[name]
            if tensor.shape != view.shape:
                raise ValueError(f"{name} has shape {tuple(tensor.shape)} where the model has {tuple(view.shape)}")
            _like(vector[offset : offset + view.numel()], view).copy_(tensor)
            offset += view.numel()
        return vector


def _like(flat: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    """``flat`` seen with the shape of ``tensor``, in its memory order.

    By strides, not ``is_contiguous``: a kernel of one input channel is contiguous in both orders, yet decides by its
    strides which one its convolution runs in.
    """
    if tensor.dim() == 4:
        out, channels, height, width = tensor.shape
        if tensor.stride() == (height * width * channels, 1, width * channels, channels):
            return flat.view(out, height, width, channels).permute(0, 3, 1, 2)
    return flat.view(tensor.shape)


def digest(tensors: dict[str, torch.Tensor]) -> str:
    """sha256 over names, types, shapes and bytes: the identity of a trained model."""
    state = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        state.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        state.update(tensor.numpy().tobytes())
    return state.hexdigest()
