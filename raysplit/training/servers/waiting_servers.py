"""Shared server portions that answer nobody before every client's batch of a step index has come.

Hosts must therefore have all their clients' steps under way at once (``Host``), so these protocols need as many copies
of the client portion on a host as it plays clients, and the server holds a step's smashed data or cut gradients of the
whole cohort.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from raysplit import rng
from raysplit.channels.channel import Channel
from raysplit.channels.message import Message
from raysplit.memory.memory import SERVER_OPTIMIZER, State
from raysplit.protocols.batching import Batching
from raysplit.protocols.plan import RoundPlan
from raysplit.protocols.protocol import TrainingProtocol
from raysplit.training.parties import ServerSlot
from raysplit.training.server import ServerResult, split_step_of
from raysplit.training.servers.batched_server import GradientSum, last_of_each_step, union_weights

NOBODY = -1
"""Whose dropout masks the server takes where it trains on everybody's smashed data at once."""


class MeanGradientServer:
    """``server_step="mean_gradients"`` (SGLR): a seeded share ``active_share`` of a step's clients gets the mean of
    their cut gradients, the others their own; then one server step on the mean over the union, at lr ·
    K^``lr_exponent``.
    """

    def __init__(
        self, protocol: TrainingProtocol, plan: RoundPlan, slot: ServerSlot, vector: torch.Tensor, state: State | None
    ) -> None:
        self._share = protocol.active_share
        exponent = protocol.lr_exponent
        self._plan, self._slot = plan, slot
        self._last, self._weight = last_of_each_step(plan.split_steps(protocol)), union_weights(plan)
        rate = plan.server_lr * len(plan.clients) ** exponent
        slot.enter(vector, state if plan.server_state == "persistent" else None, rate)
        self._sum = GradientSum(slot)
        self._replies: list[Message] = []

    def handle(self, message: Message) -> list[Message]:
        """Answers the whole step index with its last split step, and nothing before."""
        assert message.labels is not None, "scenarios check this"
        split_step = split_step_of(message)
        self._slot.begin(self._plan.seed, self._plan.round, message.client, message.step)
        gradient, score = self._slot.loss_pass(message.tensor, message.labels)
        self._sum.add(self._weight(split_step))
        self._replies.append(message.reply(Channel.CUT_GRADIENTS, gradient, score))
        if split_step not in self._last:
            return []
        self._sum.step()
        replies, self._replies = self._replies, []
        active = self._active(split_step.step, len(replies))
        mean = position_mean([replies[index].tensor for index in active])
        for index in active:
            replies[index] = replace(replies[index], tensor=mean[: len(replies[index].tensor)].clone())
        return replies

    def result(self) -> ServerResult:
        return ServerResult(self._slot.flat.vector.clone(), memory={SERVER_OPTIMIZER: self._slot.state()})

    def last_portion(self) -> torch.Tensor:
        return self._slot.flat.vector

    def _active(self, step: int, count: int) -> list[int]:
        """Of the clients with a batch in this step, who shares: round(share · count) of them, at least one,
        ascending."""
        chosen = rng.stream(self._plan.seed, "active_clients", self._plan.round, step).permutation(count)
        return sorted(int(index) for index in chosen[: max(1, round(self._share * count))])


def position_mean(gradients: list[torch.Tensor]) -> torch.Tensor:
    """The mean of per-sample gradients ``[B_k, …]`` at equal positions in the batch, ``[max B_k, …]``.

    A position is averaged over the batches that reach so far; with batches of one size that is the plain mean.
    """
    longest = max(gradients, key=len)
    if len(gradients) == 1:
        return longest
    total = torch.zeros_like(longest)
    count = torch.zeros(len(longest), dtype=longest.dtype, device=longest.device)
    for gradient in gradients:
        total[: len(gradient)].add_(gradient)
        count[: len(gradient)].add_(1)
    return total / count.view(-1, *[1] * (longest.dim() - 1))


class ServerFirst:
    """``server_step="server_first"`` (CycleSL): a step's smashed data of the whole cohort are the server's data set. It
    trains on them for ``server_epochs`` in seeded mini-batches of ``server_batch`` (None: all at once), the last one as
    ``Training.last_batch`` says; then every
    client's cut gradients are taken at the updated portion, which stays fixed meanwhile (BatchNorm's running
    statistics included).
    """

    def __init__(
        self, protocol: TrainingProtocol, plan: RoundPlan, slot: ServerSlot, vector: torch.Tensor, state: State | None
    ) -> None:
        self._epochs = protocol.server_epochs
        self._batching = Batching(protocol.server_batch, plan.batching.last)
        self._plan, self._slot = plan, slot
        self._last = last_of_each_step(plan.split_steps(protocol))
        slot.enter(vector, state if plan.server_state == "persistent" else None, plan.server_lr)
        self._held: list[tuple[Message, torch.Tensor]] = []

    def handle(self, message: Message) -> list[Message]:
        """Answers the whole step index with its last split step, and nothing before."""
        assert message.labels is not None, "scenarios check this"
        self._held.append((message, message.labels))
        if split_step_of(message) not in self._last:
            return []
        self._train(message.step)
        held, self._held = self._held, []
        flat = self._slot.flat
        statistics = flat.vector[flat.parameters :].clone()
        replies = []
        for smashed, labels in held:
            self._slot.begin(self._plan.seed, self._plan.round, smashed.client, message.step)
            gradient, score = self._slot.loss_pass(smashed.tensor, labels)
            flat.vector[flat.parameters :].copy_(statistics)
            replies.append(smashed.reply(Channel.CUT_GRADIENTS, gradient, score))
        return replies

    def result(self) -> ServerResult:
        return ServerResult(self._slot.flat.vector.clone(), memory={SERVER_OPTIMIZER: self._slot.state()})

    def last_portion(self) -> torch.Tensor:
        return self._slot.flat.vector

    def _train(self, step: int) -> None:
        z = torch.cat([smashed.tensor for smashed, _ in self._held])
        y = torch.cat([labels for _, labels in self._held])
        lengths = self._batching.lengths(len(y))
        self._slot.begin(self._plan.seed, self._plan.round, NOBODY, step)
        for epoch in range(self._epochs):
            if lengths == [len(y)]:
                self._slot.whole_step(z, y)
                continue
            order = rng.stream(self._plan.seed, "server_batches", self._plan.round, step, epoch).permutation(len(y))
            for chosen in torch.split(torch.from_numpy(order[: sum(lengths)]).to(y.device), lengths):
                self._slot.whole_step(z[chosen], y[chosen])
