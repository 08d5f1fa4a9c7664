"""Gradients of single samples in the layers for which they have a short formula.

A layer saw ``a`` [B, …] and its output got ``b`` [B, …], sample i's gradient of its own loss. For a linear layer sample
i's gradient is b_i a_iᵀ, of norm ‖b_i‖·‖a_i‖ (Goodfellow 2015, arXiv 1510.01799), and Σ_i w_i b_i a_iᵀ is one product:
no sample's gradient is ever laid out. Over positions, as in a sequence, the norm comes from two Gram matrices (Li et al.
2022, arXiv 2110.05679) where that is less work. Of a convolution they are laid out, in chunks of samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

import torch
from torch import nn
from torch.nn import functional

LAID_OUT = 1 << 24
"""Floats of single samples' gradients that are kept at a time; those of larger batches are made twice."""


class LayerExamples(Protocol):
    """Of the parameters of one layer, by their names there."""

    def squared_norms(self) -> dict[str, torch.Tensor]:
        """‖g_i‖² of each parameter, [B]."""
        ...

    def weighted_sums(self, weights: torch.Tensor) -> dict[str, torch.Tensor]:
        """Σ_i w_i g_i of each parameter, in its shape; ``weights``: [B]."""
        ...


class LinearExamples:
    """``nn.Linear`` on a [B, …, in]."""

    def __init__(self, layer: nn.Linear, a: torch.Tensor, b: torch.Tensor) -> None:
        self._bias = layer.bias is not None
        self._a = a.reshape(len(a), -1, layer.in_features) if len(a) else a.new_zeros(0, 1, layer.in_features)
        self._b = b.reshape(len(b), -1, layer.out_features) if len(b) else b.new_zeros(0, 1, layer.out_features)

    def squared_norms(self) -> dict[str, torch.Tensor]:
        a, b = self._a, self._b
        positions = a.shape[1]
        if positions == 1:
            weight = a.square().sum((1, 2)) * b.square().sum((1, 2))
        elif positions**2 <= a.shape[2] * b.shape[2]:
            weight = ((a @ a.mT) * (b @ b.mT)).sum((1, 2))
        else:
            weight = torch.cat([some.square().sum((1, 2)) for some in self._laid_out()])
        return {"weight": weight, **({"bias": b.sum(1).square().sum(1)} if self._bias else {})}

    def weighted_sums(self, weights: torch.Tensor) -> dict[str, torch.Tensor]:
        weighted = (self._b * weights[:, None, None]).flatten(0, 1)
        sums = {"weight": weighted.T @ self._a.flatten(0, 1)}
        return {**sums, "bias": weighted.sum(0)} if self._bias else sums

    def _laid_out(self) -> Iterator[torch.Tensor]:
        for some in _chunks(len(self._a), self._a.shape[2] * self._b.shape[2]):
            yield self._b[some].mT @ self._a[some]


class ConvolutionExamples:
    """``nn.Conv1d`` and ``nn.Conv2d`` on a [B, C, …]: a linear layer that sees patches at L positions.

    Patches are laid out as they lie in memory. Where channels are innermost and many, a patch is K numbers in the order
    (kernel, channel), [B, L, K]; else [B, groups, K / groups, L] in the order (channel, kernel).
    """

    def __init__(self, layer: nn.Conv1d | nn.Conv2d, a: torch.Tensor, b: torch.Tensor) -> None:
        numbers = [getattr(layer, name) for name in ("kernel_size", "stride", "dilation", "padding")]
        if isinstance(layer, nn.Conv1d):
            a, b = a.unsqueeze(2), b.unsqueeze(2)
            numbers = [(plain, *own) for plain, own in zip((1, 1, 1, 0), numbers, strict=True)]
        self._kernel, self._stride, self._dilation, (rows, columns) = numbers
        self._layer, self._b = layer, b
        self._a = functional.pad(a, (columns, columns, rows, rows)) if rows or columns else a
        self._channels_inside = layer.groups == 1 and a.shape[1] >= 4 and a.stride(1) == 1
        positions = b.shape[2] * b.shape[3]
        patch = layer.in_channels * self._kernel[0] * self._kernel[1]
        self._chunks = list(_chunks(len(a), max(layer.weight.numel(), patch * positions)))
        self._kept: torch.Tensor | None = None

    def squared_norms(self) -> dict[str, torch.Tensor]:
        found = []
        for some in self._chunks:
            gradients = self._of(some)
            found.append(torch.linalg.vector_norm(gradients, dim=1).square())
            self._kept = gradients if len(self._chunks) == 1 else None
        norms = {"weight": torch.cat(found)}
        if self._layer.bias is not None:
            norms["bias"] = self._b.sum((2, 3)).square().sum(1)
        return norms

    def weighted_sums(self, weights: torch.Tensor) -> dict[str, torch.Tensor]:
        if self._kept is not None:
            total = weights @ self._kept
        else:
            total = weights.new_zeros(self._layer.weight.numel())
            for some in self._chunks:
                total += weights[some] @ self._of(some)
        sums = {"weight": self._in_shape(total)}
        if self._layer.bias is not None:
            sums["bias"] = weights @ self._b.sum((2, 3))
        return sums

    def _of(self, some: slice) -> torch.Tensor:
        """The weight's gradient of some samples, [b, numel], in the order of patches."""
        a, b = self._a[some], self._b[some]
        if not len(a):
            return a.new_zeros(0, self._layer.weight.numel())
        batch, channels = a.stride(0), a.stride(1)
        steps = [a.stride(2 + i) * self._stride[i] for i in (0, 1)]  # from one position to the next
        within = [a.stride(2 + i) * self._dilation[i] for i in (0, 1)]  # from one number of a patch to the next
        size, positions = tuple(b.shape[2:]), b.shape[2] * b.shape[3]
        if self._channels_inside:
            shape = (len(a), *size, *self._kernel, a.shape[1])
            patches = a.as_strided(shape, (batch, *steps, *within, channels)).reshape(len(a), positions, -1)
            return (b.reshape(len(b), -1, positions) @ patches).flatten(1)
        shape, groups = (len(a), a.shape[1], *self._kernel, *size), self._layer.groups
        patches = a.as_strided(shape, (batch, channels, *within, *steps)).reshape(len(a), groups, -1, positions)
        return (b.reshape(len(b), groups, -1, positions) @ patches.mT).flatten(1)

    def _in_shape(self, total: torch.Tensor) -> torch.Tensor:
        layer = self._layer
        if self._channels_inside:
            total = total.view(layer.out_channels, *self._kernel, -1).permute(0, 3, 1, 2)
        return total.reshape(layer.weight.shape)


class EmbeddingExamples:
    """``nn.Embedding`` on tokens a [B, …]."""

    def __init__(self, layer: nn.Embedding, a: torch.Tensor, b: torch.Tensor) -> None:
        self._layer = layer
        self._tokens = a.reshape(len(a), -1) if len(a) else a.new_zeros(0, 1)
        self._b = b.reshape(*self._tokens.shape, layer.embedding_dim)
        if layer.padding_idx is not None:
            self._b = self._b * (self._tokens != layer.padding_idx)[..., None]

    def squared_norms(self) -> dict[str, torch.Tensor]:
        same = self._tokens[:, :, None] == self._tokens[:, None, :]
        return {"weight": ((self._b @ self._b.mT) * same).sum((1, 2))}

    def weighted_sums(self, weights: torch.Tensor) -> dict[str, torch.Tensor]:
        weighted = (self._b * weights[:, None, None]).flatten(0, 1)
        return {"weight": torch.zeros_like(self._layer.weight).index_add_(0, self._tokens.flatten(), weighted)}


class NormExamples:
    """``nn.GroupNorm`` and ``nn.LayerNorm``: scale and shift act on what is normalised within a sample."""

    def __init__(self, layer: nn.GroupNorm | nn.LayerNorm, a: torch.Tensor, b: torch.Tensor) -> None:
        if isinstance(layer, nn.GroupNorm):
            normal = functional.group_norm(a, layer.num_groups, eps=layer.eps)
            over = tuple(range(2, a.dim()))
        else:
            normal = functional.layer_norm(a, layer.normalized_shape, eps=layer.eps)
            over = tuple(range(1, a.dim() - len(layer.normalized_shape)))
        self._gradients = {"weight": _sum(b * normal, over)}
        if layer.bias is not None:
            self._gradients["bias"] = _sum(b, over)

    def squared_norms(self) -> dict[str, torch.Tensor]:
        return {name: g.flatten(1).square().sum(1) for name, g in self._gradients.items()}

    def weighted_sums(self, weights: torch.Tensor) -> dict[str, torch.Tensor]:
        return {name: torch.tensordot(weights, g, 1) for name, g in self._gradients.items()}


def _sum(gradients: torch.Tensor, over: tuple[int, ...]) -> torch.Tensor:
    return gradients.sum(over) if over else gradients


def _chunks(samples: int, floats: int) -> Iterator[slice]:
    """Samples whose gradients of ``floats`` each may be laid out together; one empty chunk of none."""
    step = max(1, LAID_OUT // max(1, floats))
    for begin in range(0, max(1, samples), step):
        yield slice(begin, min(begin + step, samples))


class Formula(NamedTuple):
    """Of a kind of layer: whether it ``covers`` one with these settings, and the formula."""

    covers: Callable[[nn.Module], bool]
    examples: Callable[..., LayerExamples]


def _plain_convolution(layer: nn.Module) -> bool:
    assert isinstance(layer, nn.Conv1d | nn.Conv2d)
    return layer.padding_mode == "zeros" and not isinstance(layer.padding, str)


def _plain_embedding(layer: nn.Module) -> bool:
    assert isinstance(layer, nn.Embedding)
    return layer.max_norm is None and not layer.scale_grad_by_freq and not layer.sparse


FORMULAS: dict[type[nn.Module], Formula] = {
    nn.Linear: Formula(lambda layer: True, LinearExamples),
    nn.Conv1d: Formula(_plain_convolution, ConvolutionExamples),
    nn.Conv2d: Formula(_plain_convolution, ConvolutionExamples),
    nn.Embedding: Formula(_plain_embedding, EmbeddingExamples),
    nn.GroupNorm: Formula(lambda layer: True, NormExamples),
    nn.LayerNorm: Formula(lambda layer: True, NormExamples),
}
"""By exact type: a class derived from one of these may compute something else."""
