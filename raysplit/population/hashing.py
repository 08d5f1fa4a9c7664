"""Counter-based draws: a number for each of many ids at once, the same whatever other ids there are.

``rng.stream`` is the right tool for one client's many draws; these are for many clients' one draw.
"""

from __future__ import annotations

import numpy as np

from raysplit.rng import key


def _mix(z: np.ndarray) -> np.ndarray:
    """SplitMix64's finalizer: uint64 → uint64, every output bit depends on every input bit."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def uniforms(seed: int, purpose: str, ids: np.ndarray) -> np.ndarray:
    """One uniform number in (0, 1) for each id: float64 [len(ids)], a function of (seed, purpose, id) alone."""
    name = np.array([key(seed, purpose) & 0xFFFFFFFFFFFFFFFF], dtype=np.uint64)
    counters = np.asarray(ids, dtype=np.int64).astype(np.uint64)
    bits = _mix(_mix(counters * np.uint64(0x9E3779B97F4A7C15) + name) + name)
    return ((bits >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
