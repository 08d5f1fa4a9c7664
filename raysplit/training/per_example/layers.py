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
    """``nn.Conv1d`` and ``nn.Conv2d`` on a [B, C, …]: their patches, [B, groups, C/groups · kernel, L], are what a
    linear layer would see at L positions."""

    def __init__(self, layer: nn.Conv1d | nn.Conv2d, a: torch.Tensor, b: torch.Tensor) -> None:
        self._layer, self._a, self._b = layer, a, b
        self._kept: torch.Tensor | None = None

    def squared_norms(self) -> dict[str, torch.Tensor]:
        found = []
        whole = len(self._a) * self._layer.weight.numel() <= LAID_OUT
        for some in _chunks(len(self._a), self._layer.weight.numel()):
            gradients = self._of(some)
            found.append(gradients.square().sum(1))
            if whole:
                self._kept = gradients
        norms = {"weight": torch.cat(found)}
        if self._layer.bias is not None:
            norms["bias"] = self._b.flatten(2).sum(2).square().sum(1)
        return norms

    def weighted_sums(self, weights: torch.Tensor) -> dict[str, torch.Tensor]:
        if self._kept is not None:
            total = weights @ self._kept
        else:
            total = weights.new_zeros(self._layer.weight.numel())
            for some in _chunks(len(self._a), self._layer.weight.numel()):
                total += weights[some] @ self._of(some)
        sums = {"weight": total.view(self._layer.weight.shape)}
        if self._layer.bias is not None:
            sums["bias"] = weights @ self._b.flatten(2).sum(2)
        return sums

    def _of(self, some: slice) -> torch.Tensor:
        """The weight's gradient of some samples, [b, numel]."""
        layer, a, b = self._layer, self._a[some], self._b[some]
        if not len(a):
            return a.new_zeros(0, layer.weight.numel())
        flat = isinstance(layer, nn.Conv1d)
        numbers = [getattr(layer, name) for name in ("kernel_size", "dilation", "padding", "stride")]
        kernel, dilation, padding, stride = ([least, *n] if flat else list(n) for least, n in zip((1, 1, 0, 1), numbers))
        image = a.unsqueeze(2) if flat else a
        patches = functional.unfold(image, kernel, dilation, padding, stride)  # channel-major, so groups lie together
        patches = patches.view(len(a), layer.groups, -1, patches.shape[2])
        back = b.reshape(len(b), layer.groups, -1, patches.shape[3])
        return (back @ patches.mT).flatten(1)


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
