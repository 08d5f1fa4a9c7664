"""Small steps that attacks on messages share: batches as rows, random tensors, lengths of rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import torch

from raysplit.channels.message import Message

Kind = Literal["flip", "scale", "noise", "zero"]


def with_tensor(message: Message, tensor: torch.Tensor) -> Message:
    return replace(message, tensor=tensor)


def gaussian(like: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """N(0, 1), in ``like``'s shape, type and place; drawn in the order of the logical indices, whatever the strides."""
    return torch.from_numpy(rng.standard_normal(tuple(like.shape), dtype="float32")).to(like)


def column(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """``values`` [B] so that they multiply the rows of ``like`` [B, …]."""
    return values.view(-1, *[1] * (like.dim() - 1))


def lengths(batch: torch.Tensor) -> torch.Tensor:
    """‖z_i‖₂ of every sample, [B]."""
    return torch.linalg.vector_norm(batch.flatten(1), dim=1)


def tampered(kind: Kind, factor: float, gradient: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """A gradient [B, …] turned round (−factor·g), stretched (factor·g), zero, or noise of ``factor`` times its
    length."""
    if kind == "flip":
        return -factor * gradient
    if kind == "scale":
        return factor * gradient
    if kind == "zero":
        return torch.zeros_like(gradient)
    noise = gaussian(gradient, rng)
    norm = torch.linalg.vector_norm(noise)
    return noise * (factor * torch.linalg.vector_norm(gradient) / norm.clamp_min(torch.finfo(noise.dtype).tiny))
