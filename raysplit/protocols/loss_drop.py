"""Asynchronous split learning by loss threshold: client portions move only in rounds that the training loss asks for.

Chen, Li and Chakrabarti 2021 (arXiv 2107.09786), states A, B and C; SLPerf's "Asynchronous"
(reference/split-learning.md 1.8):

* A: client and server portions both learn;
* B: the server alone learns. Clients send fresh smashed data, get no cut gradients back and stay as they are;
* C: the server learns from the smashed data that it kept of a client's last pass: the client does nothing and sends
  nothing.

After a round of mean training loss L, with L* the loss on which the last full round was decided (infinite at first),
the next round is full, and L* becomes L, where L* − L ≥ ``threshold``. Otherwise A is followed by B, and B or C by C.

C presupposes that client portions have not moved since B, so what the server keeps is exactly what the client would
send again with the same batches. The simulator therefore keeps no cache: it remembers in which round a client last sent
(16 bytes a client), and computes the same bits again from the same portion and batches. A real server would hold the
passes of all clients that sent since the last full round, Σ n_k · q floats. A client of a C round that has not sent
since then sends now, as in B.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import torch

from raysplit.errors import ScenarioError
from raysplit.memory.global_state import GlobalState
from raysplit.memory.memory import Memory, State
from raysplit.parts.part import part
from raysplit.protocols.local_rounds import LocalRounds
from raysplit.protocols.outcome import Outcome
from raysplit.protocols.plan import RoundPlan
from raysplit.protocols.protocol import (
    ClientState,
    ClientSync,
    Order,
    ServerPortion,
    ServerState,
    Synchrony,
    TrainingProtocol,
)

Phase = Literal["A", "B", "C"]
_STATES: tuple[Phase, ...] = ("A", "B", "C")
MEMORY = "fed/loss_drop"
_SENT, _STATE, _LOSS = "sent", "state", "loss"


def _check_threshold(kind: str, threshold: float) -> None:
    if not math.isfinite(threshold):
        raise ScenarioError(
            f"{kind}.threshold must be a finite number of nats, but it is {threshold!r}; -1e9 makes every round a "
            "full one"
        )


@part
class AsyncSplitFed(TrainingProtocol):
    """SplitFedV2 whose client portions learn and are averaged only in full rounds (state A); see this module.

    ``threshold``: nats by which the round's training loss must have dropped for another full round; SLPerf's default is
    0.10. At zero or below a round whose loss did not rise is followed by a full one, and far below zero this is
    SplitFedV2, bit for bit. Rounds in states B and C have no updates: no rule aggregates and no attack on updates acts
    in them.
    """

    threshold: float = 0.10
    order: Literal["interleaved", "client_major"] = "interleaved"

    synchrony: ClassVar[Synchrony] = "loss_drop"
    client_sync: ClassVar[ClientSync] = "averaging"
    server: ClassVar[ServerPortion] = "shared"
    client_state: ClassVar[ClientState] = "fresh"
    server_state: ClassVar[ServerState] = "persistent"

    def __post_init__(self) -> None:
        _check_threshold("AsyncSplitFed", self.threshold)

    def plan(self, plan: RoundPlan, memory: Memory) -> RoundPlan:
        """With frozen client portions in states B and C."""
        return with_state(plan, memory)

    def after(self, plan: RoundPlan, outcome: Outcome, state: GlobalState) -> Memory:
        """The next round's state, by the loss of this one."""
        return next_state(self.threshold, plan, outcome, state.memory)


@part
class AsyncSplitLearning(TrainingProtocol):
    """Split learning with hand-over whose client portion learns only in full rounds (state A); see this module.

    In state B every client gets the portion (one hop, whichever hand-over) and hands on what it got; in state C nothing
    moves.
    """

    threshold: float = 0.10
    handover: Literal["central", "peer_to_peer"] = "central"
    ring: Literal["random", "fixed"] = "random"

    synchrony: ClassVar[Synchrony] = "loss_drop"
    client_sync: ClassVar[ClientSync] = "handover"
    server: ClassVar[ServerPortion] = "shared"
    order: ClassVar[Order] = "client_major"
    client_state: ClassVar[ClientState] = "fresh"
    server_state: ClassVar[ServerState] = "persistent"

    def __post_init__(self) -> None:
        _check_threshold("AsyncSplitLearning", self.threshold)

    def plan(self, plan: RoundPlan, memory: Memory) -> RoundPlan:
        """With frozen client portions in states B and C."""
        return with_state(plan, memory)

    def after(self, plan: RoundPlan, outcome: Outcome, state: GlobalState) -> Memory:
        """The next round's state, by the loss of this one."""
        return next_state(self.threshold, plan, outcome, state.memory)


def state_of(memory: Mapping[str, State]) -> Phase:
    """The state of the round that is about to begin."""
    kept = memory.get(MEMORY, {})
    return _STATES[int(kept[_STATE])] if _STATE in kept else "A"


def with_state(plan: RoundPlan, memory: Mapping[str, State]) -> RoundPlan:
    """The plan of a round in its state: as it is in A, with frozen client portions in B and C."""
    state = state_of(memory)
    if state == "A":
        return plan
    sent = _sent(memory) if state == "C" else {}
    clients = [int(client) for client in plan.clients]
    local_rounds = LocalRounds(
        began=np.array([sent.get(client, plan.round) for client in clients], dtype=np.int64),
        done=np.zeros_like(plan.steps),
        until=plan.steps,
        cached=np.array([client in sent for client in clients], dtype=bool),
        frozen=True,
    )
    return dataclasses.replace(plan, local_rounds=local_rounds, rows=False)


def next_state(threshold: float, plan: RoundPlan, outcome: Outcome, memory: Mapping[str, State]) -> Memory:
    """What the next round must know: its state, the loss to compare with, and who sent what since the last full
    round."""
    records = [
        outcome.records[position] for position in range(len(plan.clients))
    ]  # summed in cohort order on every engine
    loss = sum(record.loss for record in records) / sum(record.samples_seen for record in records)
    state, kept = state_of(memory), memory.get(MEMORY, {})
    reference = float(kept[_LOSS]) if _LOSS in kept else math.inf
    if reference - loss >= threshold:
        following: Phase = "A"
        reference = loss
    else:
        following = "B" if state == "A" else "C"
    sent = {} if state == "A" else _sent(memory)
    if plan.local_rounds is not None:
        sent.update(zip(plan.clients.tolist(), plan.local_rounds.began.tolist(), strict=True))
    remembered = {
        _STATE: torch.tensor(_STATES.index(following)),
        _LOSS: torch.tensor(reference, dtype=torch.float64),
        _SENT: torch.tensor(sorted(sent.items()), dtype=torch.int64).reshape(len(sent), 2),
    }
    return {MEMORY: remembered}


def _sent(memory: Mapping[str, State]) -> dict[int, int]:
    """Client id → the round in which it last sent its smashed data, since the last full round."""
    return {int(client): int(round) for client, round in memory[MEMORY][_SENT].tolist()}
