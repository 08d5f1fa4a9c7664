"""The fed server: poisoned updates → rule → aggregated portion.

The main server does the same with its replicas where each client has one (SplitFedV1, V3); the channel is then
``server_updates``. Where the rule is the weighted mean and nobody touched or recorded an update, portions were already
summed where they were trained, and W ← Σ (n_k/n) W_k is taken literally: a single client's average is that client, bit
for bit (``average_portions``). Otherwise rows became updates Δ_k = W_k − W, malicious rows were replaced
(``poisoning.py``), and W ← W + AGR(Δ) (``aggregate``), whether the columns are in this process or in shards.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from raysplit.aggregation.columns import Columns, combined
from raysplit.aggregation.geometry import Geometry
from raysplit.aggregation.poisoning import Poisoned
from raysplit.aggregation.rule import Aggregate, apply
from raysplit.aggregation.task import AggregationTask
from raysplit.channels.channel import Channel
from raysplit.errors import ScenarioError
from raysplit.memory.memory import State


@dataclass(frozen=True)
class AggregationResult:
    """What became of a round's portions on one channel.

    ``portion``: [d + b], aggregated, before any server optimiser. ``aggregation``, ``attack``: rows for the tables.
    ``memory``: what the rule wants to find in the next round. ``update_norms``: ‖Δ_k‖, float64 [n], of the poisoned
    updates, None where they were not gathered.
    """

    portion: torch.Tensor
    aggregation: dict[str, Any]
    memory: State = field(default_factory=dict)
    attack: dict[str, Any] | None = None
    update_norms: np.ndarray | None = None


def aggregate(task: AggregationTask, columns: Columns, poisoned: Poisoned) -> AggregationResult:
    """W + AGR(Δ) of the poisoned updates Δ, whose parameters are ``columns`` [n, d]. Raises ``ScenarioError`` as the
    rule does."""
    applied = apply_rule(task, Geometry(columns))
    return AggregationResult(
        task.portion + torch.cat([applied.aggregate.update, poisoned.buffers]),
        {**_task_row(task), **applied.record},
        dict(applied.aggregate.memory),
        poisoned.attack,
        applied.update_norms,
    )


def average_portions(task: AggregationTask, sums: Mapping[int, torch.Tensor]) -> AggregationResult:
    """Σ_k p_k W_k from the partial ``sums`` of client groups, p_k W_k added up within each: [d + b] by group number.

    The rule's memory stays as it is.
    """
    began = time.perf_counter()
    portion = sum_groups(sums)
    return AggregationResult(
        portion, {**_task_row(task), "seconds": time.perf_counter() - began}, dict(task.context.memory)
    )


def without_clients(task: AggregationTask, applied: Aggregate, seconds: float) -> AggregationResult:
    """A round in which nobody was drawn, where a rule releases something all the same: ``applied``, which took it so
    many ``seconds``. ``task``: of no rows."""
    update = torch.cat([applied.update, torch.zeros_like(task.portion[task.parameters :])])
    return AggregationResult(
        task.portion + update, {**_task_row(task), "seconds": seconds, **_recorded(applied)}, dict(applied.memory)
    )


def sum_groups(sums: Mapping[int, torch.Tensor]) -> torch.Tensor:
    """Partial sums added in group order: the same bits whichever host made which."""
    groups = sorted(sums)
    total = sums[groups[0]].clone()
    for group in groups[1:]:
        total.add_(sums[group])
    return total


def _task_row(task: AggregationTask) -> dict[str, Any]:
    """What the aggregation table says of a task before the rule is applied."""
    return {
        "round": task.round,
        "portion": "server" if task.channel is Channel.SERVER_UPDATES else "client",
        "rule": type(task.rule).__name__,
        "n": len(task.positions),
        "d": len(task.portion),
        "assumed": task.context.assumed,
        "actual": task.context.actual,
        "broken": False,
    }


@dataclass(frozen=True)
class AppliedRule:
    """A rule's ``aggregate``, what the aggregation table ``record``s of it, and the norms of the rows, float64 [n]."""

    aggregate: Aggregate
    record: dict[str, Any]
    update_norms: np.ndarray


def apply_rule(task: AggregationTask, geometry: Geometry) -> AppliedRule:
    """Aggregate the updates whose ``geometry`` it is, and measure the aggregate against the mean of the benign ones.

    The geometry may be one that another rule has used before. Raises ``ScenarioError`` as the rule does.
    """
    norms = geometry.norms.numpy()
    began = time.perf_counter()
    applied = apply(task.rule, geometry, task.weights, task.rule_context())
    if applied.update.dtype != task.portion.dtype or applied.update.device != task.portion.device:
        raise ScenarioError(
            f"{type(task.rule).__name__} must return an update of the updates' own kind, {task.portion.dtype} on "
            f"{task.portion.device}, but it is {applied.update.dtype} on {applied.update.device}; use .to(updates)"
        )
    record: dict[str, Any] = {
        "seconds": time.perf_counter() - began,
        "non_finite": int(np.count_nonzero(~np.isfinite(norms))),
        **_selection(applied, task.malicious),
        **_recorded(applied),
    }
    if not bool(task.malicious.all()):
        benign = (~task.malicious).double()
        record.update(_bias(applied.update, combined(geometry.columns, benign / benign.sum())))
    return AppliedRule(applied, record, norms)


def _selection(applied: Aggregate, malicious: torch.Tensor) -> dict[str, Any]:
    """What was cut, what was selected, and whether the rule says that there are more malicious clients than it
    tolerates."""
    trim = int(applied.record["trim"]) if "trim" in applied.record else None
    row: dict[str, Any] = {"trim": trim, "broken": bool(applied.record.get("broken", False))}
    if applied.selected is not None:
        row["rejected_share"] = float((~applied.selected).double().mean())
        row["selected_malicious"] = int((applied.selected & malicious).sum())
    elif trim is not None:
        row["rejected_share"] = 2 * trim / len(malicious)
    return row


def _recorded(applied: Aggregate) -> dict[str, float]:
    """What else of a rule's own record has a column."""
    kinds: dict[str, type[int] | type[float]] = {"bound": float, "clipped": int, "saturated": int}
    return {name: kind(applied.record[name]) for name, kind in kinds.items() if name in applied.record}


def _bias(update: torch.Tensor, benign: torch.Tensor) -> dict[str, float | None]:
    """How far the aggregate was moved from the mean of the ``benign`` updates; both [d]."""
    bias, norm = float(torch.linalg.vector_norm(update - benign)), float(torch.linalg.vector_norm(benign))
    length = float(torch.linalg.vector_norm(update)) * norm
    return {
        "bias": bias,
        "relative_bias": bias / norm if norm > 0 else None,
        "cosine": float(update @ benign) / length if length > 0 else None,
    }
