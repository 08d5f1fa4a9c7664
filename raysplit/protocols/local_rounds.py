"""Turns that are not whole: what each client does of its work in a round of an asynchronous protocol."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from raysplit.protocols.split_steps import SplitStep


@dataclass(frozen=True)
class LocalRounds:
    """``began``: int64 [n], the round in which each client drew its batches. ``done``, ``until``: int64 [n], of its
    steps it takes those from ``done`` up to, not including, ``until``; it finishes where ``until`` is its number of
    steps.

    ``frozen``: client portions stay as they are and get no gradients. ``cached``: bool [n], the server already has the
    client's smashed data. ``schedule``: all split steps in the order in which they are served, where they do not follow
    from the protocol.
    """

    began: np.ndarray
    done: np.ndarray
    until: np.ndarray
    cached: np.ndarray
    frozen: bool = False
    schedule: tuple[SplitStep, ...] | None = None
