"""Modules in evaluation mode for a while."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluation_mode(modules: Sequence[nn.Module]) -> Iterator[None]:
    """BatchNorm takes its running statistics and dropout drops nothing; afterwards every module is in the mode that it
    was in: one that its maker put in evaluation mode stays there, on whichever host it is evaluated."""
    modes = [(inner, inner.training) for module in modules for inner in module.modules()]
    for module in modules:
        module.eval()
    try:
        yield
    finally:
        for inner, training in modes:
            inner.training = training
