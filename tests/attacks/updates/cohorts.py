"""Small cohorts for the tests of attacks and rules."""

from __future__ import annotations

import numpy as np
import torch

from raysplit.aggregation.rule import AggregationRule, RoundContext
from raysplit.aggregation.rules.trimmed_mean import TrimmedMean
from raysplit.aggregation.update_attack import Poison, UpdateView


def gaussian(n: int, d: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Updates around a common mean that differs from zero, [n, d]."""
    generator = torch.Generator().manual_seed(seed)
    centre = torch.randn(d, generator=generator, dtype=torch.float64)
    return (centre + torch.randn(n, d, generator=generator, dtype=torch.float64)).to(dtype)


def context(n: int, actual: int, assumed: int | None = None) -> RoundContext:
    return RoundContext(1, np.arange(n), actual if assumed is None else assumed, actual, np.random.default_rng(0))


def view_of(
    updates: torch.Tensor, m: int, rule: AggregationRule, knowledge: str = "full", trim: int | None = -1
) -> UpdateView:
    """The first ``m`` rows are malicious; ``trim`` -1 asks the rule."""
    n = updates.shape[0]
    if trim == -1:
        trim = rule.trim_count(n, m, m) if isinstance(rule, TrimmedMean) else None
    benign = updates[m:] if knowledge == "full" else updates[:0]
    return UpdateView(benign, updates[:m], n, rule, trim, 1, np.random.default_rng(0))


def aggregate(rule: AggregationRule, rows: torch.Tensor, m: int) -> torch.Tensor:
    n = rows.shape[0]
    weights = torch.full((n,), 1.0 / n, dtype=rows.dtype)
    return rule.aggregate(rows, weights, context(n, m)).update


def attacked(rule: AggregationRule, updates: torch.Tensor, poison: Poison) -> torch.Tensor:
    """What the rule returns once the first rows are replaced."""
    m = poison.rows.shape[0]
    return aggregate(rule, torch.cat([poison.rows, updates[m:]]), m)
