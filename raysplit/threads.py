"""One thread a process wherever bits are made: the thread count changes how sums are split, and so their last bits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def pin_threads() -> None:
    """For a process that does nothing else (client hosts, main servers)."""
    torch.set_num_threads(1)


@contextmanager
def one_thread() -> Iterator[None]:
    """For the length of a ``with``, or of a function that it decorates; then as it was."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
