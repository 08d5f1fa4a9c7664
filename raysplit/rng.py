"""One seed, many independent named streams.

Every random choice of a simulation comes from ``stream(seed, purpose, *indices)``: the same name always gives the same
numbers, two names give independent ones, and no choice can move another. That is what makes the cohort of round 17
the same in every trial of a sweep, on any number of hosts, straight through or resumed (docs/design.md, promises).
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch


def key(seed: int, purpose: str, *indices: int) -> int:
    """A 128-bit key of the stream's name; equal names give equal keys on every machine."""
    name = ":".join([str(int(seed)), purpose, *(str(int(index)) for index in indices)])
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=16).digest(), "little")


def stream(seed: int, purpose: str, *indices: int) -> np.random.Generator:
    """A numpy generator for ``purpose`` (e.g. ``"cohort"``) at ``indices`` (e.g. round, client)."""
    return np.random.Generator(np.random.Philox(key=key(seed, purpose, *indices)))


def torch_stream(seed: int, purpose: str, *indices: int) -> torch.Generator:
    """A CPU torch generator for ``purpose`` at ``indices``."""
    generator = torch.Generator()
    generator.manual_seed(key(seed, purpose, *indices) & ((1 << 63) - 1))
    return generator
