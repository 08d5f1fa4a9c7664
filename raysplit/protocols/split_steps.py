"""Who steps when: the order of split steps at a shared server portion, and of clients that follow each other."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from raysplit import rng
from raysplit.protocols.protocol import TrainingProtocol


class SplitStep(NamedTuple):
    """One split step: the client at ``position`` in the cohort takes its batch number ``step`` (over all local
    epochs)."""

    position: int
    step: int


def handover_order(protocol: TrainingProtocol, seed: int, round: int, clients: int) -> np.ndarray:
    """The order, as cohort positions, in which clients of a sequential protocol train."""
    if protocol.ring == "fixed":
        return np.arange(clients)
    return rng.stream(seed, "server_order", round, 0).permutation(clients)


def shared_split_steps(protocol: TrainingProtocol, seed: int, round: int, steps: np.ndarray) -> list[SplitStep]:
    """Every split step at a shared server portion in a round, in the order in which it must be served.

    ``steps``: int64 [n], batches of each client over all its local epochs.
    """
    if protocol.order == "client_major":
        order = handover_order(protocol, seed, round, len(steps))
        return [SplitStep(int(p), s) for p in order for s in range(int(steps[p]))]
    split_steps: list[SplitStep] = []
    for step in range(int(steps.max())):
        order = _step_order(protocol, seed, round, step, len(steps))
        split_steps.extend(SplitStep(int(p), step) for p in order if step < steps[p])
    return split_steps


def _step_order(protocol: TrainingProtocol, seed: int, round: int, step: int, clients: int) -> np.ndarray:
    """Cohort positions in the order of one step index."""
    if protocol.client_sync == "handover":
        return handover_order(protocol, seed, round, clients)
    if protocol.server_step != "split_step":
        return np.arange(clients)  # the portion stays fixed within the step: nothing depends on the order but last bits
    return rng.stream(seed, "server_order", round, step).permutation(clients)


def completion_order(split_steps: list[SplitStep]) -> np.ndarray:
    """Cohort positions in the order in which clients finish: the order in which a shared protocol sums their
    portions."""
    last = {split_step.position: index for index, split_step in enumerate(split_steps)}
    return np.array(sorted(last, key=last.__getitem__), dtype=np.int64)


def parallel_split_steps(positions: list[int], steps: np.ndarray, ahead: int) -> list[SplitStep]:
    """Split steps of independent clients at their own replicas, ``ahead`` clients at a time so that a host need not
    wait."""
    split_steps: list[SplitStep] = []
    for begin in range(0, len(positions), ahead):
        window = positions[begin : begin + ahead]
        for step in range(max(int(steps[p]) for p in window)):
            split_steps.extend(SplitStep(p, step) for p in window if step < steps[p])
    return split_steps
