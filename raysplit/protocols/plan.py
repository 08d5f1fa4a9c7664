"""What one round asks for: everything that every party must agree on, and nothing about where it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from raysplit.channels.channel import Channel
from raysplit.protocols.batching import WHOLE_SETS, Batching
from raysplit.protocols.local_rounds import LocalRounds
from raysplit.protocols.masked_sizes import MaskedSizes
from raysplit.protocols.protocol import ClientState, ServerState, TrainingProtocol
from raysplit.protocols.split_steps import SplitStep, completion_order, shared_split_steps


@dataclass(frozen=True)
class RoundPlan:
    """``clients``, ``samples``, ``steps``: int64 [n], in cohort order; ``weights``: float64 [n], n_k / n. ``cohort``:
    the sampled ids; the same as ``clients`` unless one party trains on all their data as client 0.

    ``block_size``: how many clients of a host train together (``training/client_block.py``). ``detects``: whether the
    main server's detectors, if there are any, watch this round.

    ``groups``: cohort positions of each client group, the unit of work and of partial sums. ``rows``: gather every
    client portion instead of partial sums; ``server_rows``: every server replica. ``lost``: so many clients, the last
    positions, train but their portions never arrive; their weights are 0. ``local_rounds``: where clients do not all
    take a whole local round (asynchronous protocols); None: they do. ``malicious``: client id → rank among the
    malicious, of those whose data or messages an attack in force poisons in this round: who plays them must know; empty
    where none is, and for attacks on updates, which the fed server carries out.
    """

    round: int
    seed: int
    clients: np.ndarray
    cohort: np.ndarray
    samples: np.ndarray
    steps: np.ndarray
    weights: np.ndarray
    groups: tuple[tuple[int, ...], ...]
    rows: bool
    client_lr: float
    server_lr: float
    client_state: ClientState
    server_state: ServerState
    batching: Batching = WHOLE_SETS
    lost: int = 0
    local_rounds: LocalRounds | None = None
    malicious: Mapping[int, int] = field(default_factory=dict)
    server_rows: bool = False
    detects: bool = False
    block_size: int = 1
    masked: MaskedSizes | None = None
    """Of secure aggregation, where ``updates`` are masked; None: they travel as they are"""

    @property
    def reporting(self) -> int:
        """How many clients' portions arrive: those at the positions below; with ``local_rounds`` those of them who
        finish."""
        return len(self.clients) - self.lost

    def batch_round(self, position: int) -> int:
        """The round in which a client drew the batches that it trains on now."""
        return self.round if self.local_rounds is None else int(self.local_rounds.began[position])

    def until(self, position: int) -> int:
        """The step before which a client's local round stops in this round; ``steps`` where it finishes."""
        return int(self.steps[position] if self.local_rounds is None else self.local_rounds.until[position])

    def finishes(self, position: int) -> bool:
        return self.until(position) == int(self.steps[position])

    def resumes(self, position: int) -> bool:
        """Whether a client goes on with a local round that it began in an earlier round."""
        return (
            self.local_rounds is not None and not self.frozen and bool(self.local_rounds.began[position] < self.round)
        )

    def waits(self, position: int) -> bool:
        """Whether a client begins in this round and does not come to its first step."""
        return (
            self.local_rounds is not None
            and not self.resumes(position)
            and bool(self.local_rounds.until[position] == 0)
        )

    @property
    def owed(self) -> np.ndarray:
        """Split steps that each client takes in this round: int64 [n]."""
        return self.steps if self.local_rounds is None else self.local_rounds.until - self.local_rounds.done

    @property
    def frozen(self) -> bool:
        """Whether client portions stay as they are in this round: the server alone learns."""
        return self.local_rounds is not None and self.local_rounds.frozen

    def cached(self, position: int) -> bool:
        """Whether the server uses the smashed data that this client sent in ``batch_round``: the client does
        nothing."""
        return self.local_rounds is not None and bool(self.local_rounds.cached[position])

    def crosses(self, channel: Channel, position: int) -> bool:
        """Whether messages of a client cross ``channel`` in this round."""
        return not self.cached(position) and not (self.frozen and channel is Channel.CUT_GRADIENTS)

    def split_steps(self, protocol: TrainingProtocol) -> list[SplitStep]:
        """All split steps at a shared server portion, in the order in which they are served."""
        if self.local_rounds is not None and self.local_rounds.schedule is not None:
            return list(self.local_rounds.schedule)
        return shared_split_steps(protocol, self.seed, self.round, self.steps)

    def summing_orders(self, protocol: TrainingProtocol) -> dict[int, list[int]]:
        """Group → positions in the order in which their portions are summed: as clients finish at a shared server, else
        cohort order.

        Without those whose portions are lost."""
        if protocol.server != "shared":
            return {group: [p for p in positions if p < self.reporting] for group, positions in enumerate(self.groups)}
        group_of = {position: group for group, positions in enumerate(self.groups) for position in positions}
        orders: dict[int, list[int]] = {group: [] for group in range(len(self.groups))}
        for position in completion_order(self.split_steps(protocol)):
            if position < self.reporting and self.finishes(int(position)):
                orders[group_of[int(position)]].append(int(position))
        return orders


def cut_groups(samples: np.ndarray, count: int) -> tuple[tuple[int, ...], ...]:
    """Deal a cohort into ``count`` groups of nearly equal work; members in cohort order. The cluster has no say in it.

    Largest first to the lightest group, so that groups dealt evenly to hosts finish together.
    """
    count = max(1, min(count, len(samples)))
    load = np.zeros(count)
    groups: list[list[int]] = [[] for _ in range(count)]
    for position in np.argsort(-samples, kind="stable"):
        lightest = int(np.argmin(load))
        load[lightest] += float(samples[position])
        groups[lightest].append(int(position))
    return tuple(tuple(sorted(group)) for group in groups)
