"""Long vectors made short: a fixed random projection, under which lengths and angles hardly change (Johnson and
Lindenstrauss, 1984)."""

from __future__ import annotations

from functools import lru_cache

import torch

from raysplit import rng


def sketch(vectors: torch.Tensor, length: int) -> torch.Tensor:
    """[n, …] → float64 [n, length] on the CPU: each row flattened, times one matrix of ±1/√length; rows not longer than
    that pass as they are."""
    flat = vectors.detach().flatten(1)
    if flat.shape[1] <= length:
        return flat.cpu().double()
    return (flat @ _signs(flat.shape[1], length).to(flat)).cpu().double() / length**0.5


@lru_cache(maxsize=4)
def _signs(rows: int, columns: int) -> torch.Tensor:
    """int8 [rows, columns] of ±1, the same for all runs: an adversary who knows the code knows it."""
    bits = torch.randint(0, 2, (rows, columns), generator=rng.torch_stream(0, "detection_sketch", rows, columns))
    return bits.mul_(2).sub_(1).to(torch.int8)
