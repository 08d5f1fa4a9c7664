"""What goes through the layers of a portion while it trains: what each saw, and what its output got back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from raysplit.training.per_example.layers import FORMULAS


class LayerPass:
    """One pass through a layer. ``seen``: what it was given; ``output``: with its graph."""

    def __init__(self, seen: torch.Tensor, output: torch.Tensor) -> None:
        self.seen, self.output = seen.detach(), output
        # The hook holds the list alone: held by its output's graph, a hook that holds the output keeps both for ever.
        self._back: list[torch.Tensor] = []
        output.register_hook(self._back.append)  # type: ignore[no-untyped-call]

    @property
    def back(self) -> torch.Tensor | None:
        """∂L/∂output of the batch's mean loss, once a backward pass has come by."""
        return self._back[-1] if self._back else None


class LayerPasses:
    """Watches the layers of ``modules`` that train and have a formula. Forgotten and begun anew with ``clear``."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self._passes: dict[nn.Module, list[LayerPass]] = {}
        self.by_formulas: dict[nn.Module, bool] = {}
        """Of the modules that were asked for: whether ``formulas_hold``."""
        self._watching = True
        for module in modules:
            for layer in module.modules():
                own = list(layer.parameters(recurse=False))
                if type(layer) in FORMULAS and own and all(p.requires_grad for p in own):
                    layer.register_forward_hook(self._passed)

    def clear(self) -> None:
        self._passes = {}

    def of_batch(self, module: nn.Module) -> list[LayerPass]:
        """All passes through the layers of ``module``."""
        return [one for layer in module.modules() for one in self._passes.get(layer, [])]

    def of(self, layer: nn.Module) -> LayerPass:
        """The one pass through a layer that ``formulas_hold`` of."""
        (only,) = self._passes[layer]
        return only

    def _passed(self, layer: nn.Module, given: tuple[Any, ...], output: torch.Tensor) -> None:
        if self._watching and output.requires_grad:
            self._passes.setdefault(layer, []).append(LayerPass(given[0], output))

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Passes within are no part of the batch."""
        self._watching = False
        try:
            yield
        finally:
            self._watching = True


def formulas_hold(module: nn.Module, output: torch.Tensor) -> bool:
    """Whether every parameter of ``module`` that trains belongs to a layer with a formula, and reached ``output``
    by one use of it and no other way: a tied or a twice used layer has a gradient from elsewhere too."""
    layers = [layer for layer in module.modules() if any(p.requires_grad for p in layer.parameters(recurse=False))]
    for layer in layers:
        formula = FORMULAS.get(type(layer))
        whole = all(p.requires_grad for p in layer.parameters(recurse=False))
        if formula is None or not whole or not formula.covers(layer):
            return False
    used = _uses(output)
    trained = [p for layer in layers for p in layer.parameters(recurse=False)]
    return len(set(trained)) == len(trained) and all(used[p] == 1 for p in trained)


def _uses(output: torch.Tensor) -> Counter[torch.Tensor]:
    """How often each parameter goes into the graph behind ``output``."""
    used: Counter[torch.Tensor] = Counter()
    seen, waiting = set(), [output.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        for further, _ in node.next_functions:
            if further is not None and hasattr(further, "variable"):
                used[further.variable] += 1
            waiting.append(further)
    return used
