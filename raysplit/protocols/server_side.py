"""The main server's half of a round: one shared portion or one replica a client, served visit by visit."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch

from raysplit.channels import Channel
from raysplit.optimizers import State
from raysplit.protocols.collected import CollectedReplicas
from raysplit.protocols.parties import Score, ServerSeat
from raysplit.protocols.plan import RoundPlan
from raysplit.protocols.protocol import TrainingProtocol
from raysplit.protocols.seating import Gathering, Seating
from raysplit.protocols.visits import Visit


class Reply(NamedTuple):
    """What the server sends back: features (U-shaped, first) or cut gradients; the score where the server knows it."""

    channel: Channel
    visit: Visit
    tensor: torch.Tensor
    score: Score | None


class Replicas(NamedTuple):
    """Server replicas at the end of a round: their weighted ``sums`` by client group, or each as a row by cohort position, [d] each."""

    sums: dict[int, torch.Tensor]
    rows: dict[int, torch.Tensor]


class MainServerSide(Protocol):
    """What plays the main server in a round. Each call returns the replies that are due now, to whichever clients."""

    def smashed(self, visit: Visit, z: torch.Tensor, y: torch.Tensor | None) -> list[Reply]: ...

    def feature_gradients(self, visit: Visit, gradient: torch.Tensor) -> list[Reply]: ...

    def shared_result(self) -> tuple[torch.Tensor, State]:
        """After the last visit: the shared portion and its optimiser's state."""
        ...

    def replicas(self) -> Replicas:
        """After the last visit: the replicas of the clients that report; none where the portion is shared."""
        ...


class ServerSide:
    """Answers smashed data and feature gradients; ``positions`` are the clients that it will serve this round."""

    def __init__(
        self,
        protocol: TrainingProtocol,
        plan: RoundPlan,
        seats: list[ServerSeat],
        vector: torch.Tensor,
        state: State | None,
        groups: list[int],
        collected: CollectedReplicas | None = None,
    ) -> None:
        self._protocol = protocol
        self._plan = plan
        self._steps = plan.steps
        self._shared = protocol.server == "shared"
        self._busy: set[int] = set()
        start_state = state if plan.server_state == "persistent" else None
        self._anew = plan.server_state == "each_batch"
        self._collected = collected
        self._standing: torch.Tensor | None = None
        self._seating = Seating(
            seats, lambda p: (collected.of(p) if collected else vector, start_state), plan.server_lr
        )
        weights = torch.from_numpy(plan.weights)
        self._reporting = plan.reporting
        orders = {group: [p for p in plan.groups[group] if p < plan.reporting] for group in groups}
        self.gathering = Gathering(orders, weights, plan.server_rows)
        if self._shared:
            self._seating.sit(0)

    def smashed(self, visit: Visit, z: torch.Tensor, y: torch.Tensor | None) -> list[Reply]:
        """One visit begins. Not U-shaped: the whole server step. U-shaped (``y`` is None): forward to the second cut."""
        seat = self._seat(visit)
        seat.begin(self._plan.seed, self._plan.round, int(self._plan.clients[visit.position]), visit.step)
        if y is None:
            self._busy.add(visit.position)
            return [Reply(Channel.FEATURES, visit, seat.forward(z), None)]
        gradient, score = seat.whole_step(z, y)
        self._finish(visit, seat)
        return [Reply(Channel.CUT_GRADIENTS, visit, gradient, score)]

    def feature_gradients(self, visit: Visit, gradient: torch.Tensor) -> list[Reply]:
        """U-shaped: the second half of a visit."""
        seat = self._seat(visit)
        self._busy.discard(visit.position)
        cut_gradient = seat.backward(gradient)
        self._finish(visit, seat)
        return [Reply(Channel.CUT_GRADIENTS, visit, cut_gradient, None)]

    def shared_result(self) -> tuple[torch.Tensor, State]:
        """After the last visit: the shared portion and its optimiser's state."""
        seat = self._seating.leave(0)
        return seat.flat.vector.clone(), seat.state()

    def replicas(self) -> Replicas:
        return Replicas(self.gathering.sums, self.gathering.rows)

    def standing(self) -> torch.Tensor:
        """The server portion that belongs to the client of the last visit, which was its last; valid until the next visit."""
        assert self._standing is not None
        return self._standing

    def _seat(self, visit: Visit) -> ServerSeat:
        return self._seating.sit(0 if self._shared else visit.position, self._busy.__contains__)

    def _finish(self, visit: Visit, seat: ServerSeat) -> None:
        self._standing = seat.flat.vector
        if self._anew:
            seat.forget()
        if not self._shared and visit.step == self._steps[visit.position] - 1:
            self._seating.leave(visit.position)
            if self._collected is not None:
                self._collected.put(visit.position, seat.flat.vector)
                self._standing = self._collected.of(visit.position)
            elif visit.position < self._reporting:
                self.gathering.put(visit.position, seat.flat.vector)
