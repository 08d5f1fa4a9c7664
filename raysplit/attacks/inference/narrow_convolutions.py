"""The faster of PyTorch's two sets of CPU kernels for networks whose convolutions have few channels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

_NARROW = 16
"""Measured, one thread, one image: a step through UnSplit's MNIST portions (8 and 16 channels) takes 3 to 4 times as long
with oneDNN as without; through its CIFAR-10 portions (64 channels) as long, and less in batches."""


@contextmanager
def fast_kernels(network: nn.Module) -> Iterator[None]:
    """oneDNN off for the length of the ``with`` where no convolution of ``network`` gives more than 16 channels. The
    same sums in another order."""
    widths = [module.out_channels for module in network.modules() if isinstance(module, nn.Conv2d)]
    if not widths or max(widths) > _NARROW:
        yield
        return
    before = torch.backends.mkldnn.set_flags(_enabled=False, _fp32_precision=None)[0]  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        torch.backends.mkldnn.set_flags(_enabled=before, _fp32_precision=None)  # type: ignore[no-untyped-call]
