"""Gradients of single samples of a portion: their norms, and sums of them with a weight a sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from raysplit.training.per_example.layer_passes import LayerPasses, formulas_hold
from raysplit.training.per_example.layers import FORMULAS, LayerExamples


class Examples(Protocol):
    """g_i of the parameters that train, in ``parameters()`` order, for the samples i of a batch of B."""

    def squared_norms(self) -> torch.Tensor:
        """‖g_i‖² of each of P parameters, [B, P]."""
        ...

    def weighted_sums(self, weights: torch.Tensor) -> list[torch.Tensor]:
        """Σ_i w_ip g_ip of each parameter p, in its shape; ``weights``: [B, P]."""
        ...


class FormulaExamples:
    """By the formulas of the layers (``layers.py``), from what passed through them in the batch's own forward and
    backward pass. ``size``: B."""

    def __init__(self, module: nn.Module, passes: LayerPasses, size: int) -> None:
        self._parameters = [p for p in module.parameters() if p.requires_grad]
        self._places: list[tuple[LayerExamples, dict[str, int]]] = []
        number = {parameter: i for i, parameter in enumerate(self._parameters)}
        for layer in module.modules():
            names = {name: number[p] for name, p in layer.named_parameters(recurse=False) if p in number}
            if names:
                passed = passes.of(layer)
                assert passed.back is not None
                examples = FORMULAS[type(layer)].examples(layer, passed.seen, passed.back * size)
                self._places.append((examples, names))
        self._size = size

    def squared_norms(self) -> torch.Tensor:
        norms = self._parameters[0].new_empty(self._size, len(self._parameters))
        for examples, names in self._places:
            for name, found in examples.squared_norms().items():
                norms[:, names[name]] = found
        return norms

    def weighted_sums(self, weights: torch.Tensor) -> list[torch.Tensor]:
        sums: list[torch.Tensor] = [torch.empty(0)] * len(self._parameters)
        for examples, names in self._places:
            first, *others = names.values()
            if all(torch.equal(weights[:, first], weights[:, other]) for other in others):
                found = examples.weighted_sums(weights[:, first])
            else:
                found = {name: examples.weighted_sums(weights[:, p])[name] for name, p in names.items()}
            for name, p in names.items():
                sums[p] = found[name]
        return sums


class SampleBySample:
    """By one backward pass a sample through the whole batch's graph: for layers of any kind, as slow as it sounds.

    ``output``: with its graph, [B, …]; ``back``: what each sample's row of it got, of its own loss.
    """

    def __init__(self, module: nn.Module, output: torch.Tensor, back: torch.Tensor) -> None:
        self._parameters = [p for p in module.parameters() if p.requires_grad]
        self._rows: list[list[torch.Tensor]] = []
        for i in range(len(back)):
            alone = torch.zeros_like(back)
            alone[i] = back[i]
            found = torch.autograd.grad(output, self._parameters, alone, retain_graph=True, allow_unused=True)
            self._rows.append(
                [torch.zeros_like(p) if g is None else g for p, g in zip(self._parameters, found, strict=True)]
            )

    def squared_norms(self) -> torch.Tensor:
        if not self._rows:
            return torch.zeros(0, len(self._parameters))
        return torch.stack([torch.stack([g.square().sum() for g in row]) for row in self._rows])

    def weighted_sums(self, weights: torch.Tensor) -> list[torch.Tensor]:
        sums = [torch.zeros_like(p) for p in self._parameters]
        for row, own in zip(self._rows, weights, strict=True):
            for total, gradient, weight in zip(sums, row, own, strict=True):
                total.add_(gradient * weight)
        return sums


class Joined:
    """A head's and a tail's, as one portion's: sample i's gradient of both is one."""

    def __init__(self, parts: Sequence[Examples]) -> None:
        self._parts = parts
        self._counts: list[int] = []

    def squared_norms(self) -> torch.Tensor:
        norms = [part.squared_norms() for part in self._parts]
        self._counts = [some.shape[1] for some in norms]
        return torch.cat(norms, dim=1)

    def weighted_sums(self, weights: torch.Tensor) -> list[torch.Tensor]:
        split = torch.split(weights, self._counts, dim=1)
        return [total for part, own in zip(self._parts, split, strict=True) for total in part.weighted_sums(own)]


@dataclass(frozen=True)
class BatchPass:
    """A batch of ``size`` samples that went through ``module``.

    ``again``: the forward pass once more, with its graph; ``back_through``: the backward pass, where it has not been
    done; ``back``: what each sample's row of an output got, of its own loss, [B, …].
    """

    module: nn.Module
    size: int
    again: Callable[[], torch.Tensor]
    back: Callable[[torch.Tensor], torch.Tensor]
    back_through: Callable[[], None] = lambda: None


def examples_of(batch: BatchPass, passes: LayerPasses) -> Examples:
    """By formulas where they hold, else sample by sample; which of them is looked up once a module."""
    output: torch.Tensor | None = None
    if batch.module not in passes.by_formulas:
        with passes.apart():
            output = batch.again()
        passes.by_formulas[batch.module] = formulas_hold(batch.module, output)
    if passes.by_formulas[batch.module]:
        batch.back_through()
        return FormulaExamples(batch.module, passes, batch.size)
    if output is None:
        with passes.apart():
            output = batch.again()
    return SampleBySample(batch.module, output, batch.back(output))
