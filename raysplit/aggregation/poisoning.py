"""Poisoning of updates: malicious clients' rows are replaced by what the attack in force sends.

The attack is shown a view that is cut down to its threat model, and all that it can return is its own clients' rows.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from raysplit import rng
from raysplit.aggregation.order_statistics import weighted_sum
from raysplit.aggregation.rule import RoundContext
from raysplit.aggregation.task import AggregationTask
from raysplit.aggregation.update_attack import UpdateAttack, UpdateView, checked_rows
from raysplit.errors import ScenarioError


@dataclass(frozen=True)
class Poisoned:
    """What is known of updates once they are poisoned. ``attack``: the attack's row for the tables, None where none was
    in force. ``buffers``: [b], the weighted mean change of the buffers, which no attack sees or changes."""

    attack: dict[str, Any] | None
    buffers: torch.Tensor


def poison(task: AggregationTask, updates: torch.Tensor) -> Poisoned:
    """Replace, in place, the malicious rows of ``updates`` [n, d + b] in their d parameters by what ``task.attack``
    sends, if there is one.

    Raises ``ScenarioError`` as the attack does, and where it writes into what it was shown.
    """
    buffers = weighted_sum(updates[:, task.parameters :], task.weights)
    if task.attack is None:
        return Poisoned(None, buffers)
    began = time.perf_counter()
    record = _replace_rows(task, task.attack, updates[:, : task.parameters])
    return Poisoned({**record, "seconds": time.perf_counter() - began}, buffers)


def _replace_rows(task: AggregationTask, attack: UpdateAttack, updates: torch.Tensor) -> dict[str, Any]:
    own = np.flatnonzero(task.malicious.numpy())
    benign = np.flatnonzero(~task.malicious.numpy())
    order = np.concatenate([benign, own])
    reorder_rows(updates, order)
    view = _view(task, attack, updates, len(benign))
    seen = updates._version  # counts writes, also those through views
    sent = attack.poison(view)
    if updates._version != seen:
        raise ScenarioError(
            f"{type(attack).__name__}.poison() changed the updates that it was shown; it may only return rows: work "
            "on a copy"
        )
    rows = checked_rows(attack, sent, *view.own.shape).to(updates)
    if rows.untyped_storage().data_ptr() == updates.untyped_storage().data_ptr():
        rows = rows.clone()  # a copy of rows that are about to be overwritten
    view.own.copy_(rows)
    reorder_rows(updates, np.argsort(order))
    known = {name: float(sent.record[name]) for name in ("gamma", "objective", "certificate") if name in sent.record}
    return {
        "round": task.round,
        "attack": type(attack).__name__,
        "channel": task.channel.value,
        "m": view.m,
        "knowledge": attack.threat_model.knowledge,
        **known,
    }


def _view(task: AggregationTask, attack: UpdateAttack, updates: torch.Tensor, benign: int) -> UpdateView:
    """What the threat model lets the attack see. ``updates``: [n, d], the ``benign`` benign rows first."""
    knowledge, context = attack.threat_model.knowledge, task.context
    n = len(updates)
    return UpdateView(
        benign=updates[: benign if knowledge == "full" else 0],
        own=updates[benign:],
        n=n,
        rule=task.rule,
        trim=task.rule.trim_count(n, context.assumed, context.actual),
        round=task.round,
        rng=rng.stream(task.attack_seed, "attack", task.round),
        context=_adversary_context(context, np.flatnonzero(task.malicious.numpy()), knowledge),
        channel=task.channel,
        across=task.across,
    )


def _adversary_context(context: RoundContext, own: np.ndarray, knowledge: str) -> RoundContext:
    """What an adversary knows of the rule's context: all but its random choices; with partial knowledge neither its
    memory and reference nor other clients.

    ``own``: positions of the malicious clients. They come first, then, with full knowledge, the benign ones.
    """
    others = np.setdiff1d(np.arange(len(context.clients)), own)
    stand_in = rng.stream(0, "rehearsal", context.round)
    context = replace(context, lost=context.lost[:0], counts=None)
    if knowledge == "full":
        return replace(context, clients=context.clients[np.concatenate([own, others])], rng=stand_in)
    return replace(context, clients=context.clients[own], rng=stand_in, memory={}, reference=None)


def reorder_rows(matrix: torch.Tensor, order: np.ndarray) -> None:
    """Row i becomes what row ``order[i]`` was, in place: a copy of the benign rows would nearly double the memory of a
    round."""
    placed = np.zeros(len(order), dtype=bool)
    for start in range(len(order)):
        if placed[start] or order[start] == start:
            continue
        kept, here = matrix[start].clone(), start
        while (source := int(order[here])) != start:
            matrix[here] = matrix[source]
            placed[here], here = True, source
        matrix[here] = kept
        placed[here] = True
