"""How a model does on clients' test sets, and how often an attack with a goal reaches it there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from raysplit.attacks.data.data_attack import MeasuredAtCut, MeasuredAttack
from raysplit.attacks.data.poisoning import attempts
from raysplit.models.noise.prediction import AveragedDraws
from raysplit.population.population import Samples
from raysplit.protocols.class_counts import ClassCounts
from raysplit.protocols.outcome import ClientScores

EVALUATION_BATCH = 1024
EVALUATION_CHUNK = 50
"""Clients evaluated together; fixed, so that batches depend neither on the engine nor on the number of hosts."""

AtCut = Callable[[torch.Tensor], torch.Tensor]
"""What becomes of a batch of smashed data on its way to the server."""


@dataclass(frozen=True)
class Evaluator:
    """A model that is being tested: the ``stages`` that a batch passes, the client's first, in evaluation mode.

    ``pixels``: what the first stage takes of stored samples, on its device. ``hold``: puts the portion of one client,
    by id, into the stages; None where all have the same. ``sent``: what goes on of the first stage's output, where honest
    clients do something to it. ``averaged``: over which draws a network with a noise layer predicts.
    """

    stages: Sequence[nn.Module]
    pixels: Callable[[torch.Tensor], torch.Tensor]
    hold: Callable[[int], None] | None = None
    sent: AtCut | None = None
    averaged: AveragedDraws | None = None

    def scores(
        self,
        clients: np.ndarray,
        tests: Sequence[Samples],
        aims: Sequence[MeasuredAttack],
        classes: int,
        seed: int,
    ) -> ClientScores:
        """By client; ``tests``: their test sets; ``aims``: attacks whose success is measured. In float64; nothing is
        trained."""
        with torch.no_grad():
            scores = self._judge(clients, tests, classes)
            if not aims:
                return scores
            tries = [attempts(aims, test, int(c), classes, seed) for c, test in zip(clients, tests, strict=True)]
            successes, tried = np.zeros(len(clients), dtype=np.int64), np.zeros(len(clients), dtype=np.int64)
            for aim, attempted in zip(aims, zip(*tries, strict=True), strict=True):
                at_cut = aim.triggered if isinstance(aim, MeasuredAtCut) else None
                judged = self._judge(clients, attempted, classes, at_cut)
                successes, tried = successes + judged.correct, tried + judged.samples
            return replace(scores, attempts=tried, successes=successes)

    def _judge(
        self, clients: np.ndarray, sets: Sequence[Samples], classes: int, at_cut: AtCut | None = None
    ) -> ClientScores:
        """What the model answers on ``sets``, one a client.

        In large batches that ignore client boundaries, unless clients have portions of their own, or a batch is what
        one of them sends.
        """
        losses: list[torch.Tensor] = []
        answers: list[torch.Tensor] = []
        labels = torch.cat([s.y for s in sets])
        if self.hold is None and at_cut is None:
            losses, answers = self._pass(int(clients[0]), torch.cat([s.x for s in sets]), labels)
        else:
            for owner, own_set in zip(clients, sets, strict=True):
                if self.hold is not None:
                    self.hold(int(owner))
                found = self._pass(int(owner), own_set.x, own_set.y, at_cut)
                losses.extend(found[0])
                answers.extend(found[1])
        sizes = np.array([len(s.y) for s in sets], dtype=np.int64)
        owners = np.repeat(np.arange(len(sets)), sizes)
        truth = labels.numpy()
        predicted = torch.cat(answers).numpy() if answers else np.zeros(0, dtype=np.int64)
        loss = torch.cat(losses).numpy() if losses else np.zeros(0)
        return ClientScores(
            clients,
            np.bincount(owners, loss, minlength=len(sets)),
            np.bincount(owners[predicted == truth], minlength=len(sets)),
            sizes,
            ClassCounts.of(truth, predicted, classes),
        )

    def _pass(
        self, first: int, x: torch.Tensor, y: torch.Tensor, at_cut: AtCut | None = None
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Loss (nats, float64) and predicted class (int64) of every sample, batch by batch; ``first``: the first of the
        clients whose samples they are, which names the noise."""
        losses, answers = [], []
        for begin in range(0, len(y), EVALUATION_BATCH):
            once = partial(self._logits, self.pixels(x[begin : begin + EVALUATION_BATCH]), at_cut)
            z = once() if self.averaged is None else self.averaged.scores(once, first, begin)
            target = y[begin : begin + EVALUATION_BATCH].to(z.device)
            losses.append(functional.cross_entropy(z, target, reduction="none").double().cpu())
            answers.append(z.argmax(1).cpu())
        return losses, answers

    def _logits(self, pixels: torch.Tensor, at_cut: AtCut | None) -> torch.Tensor:
        z = pixels
        for place, stage in enumerate(self.stages):
            z = stage(z)
            if place == 0 and self.sent is not None:
                z = self.sent(z)
            if place == 0 and at_cut is not None:
                z = at_cut(z)
        return z


def evaluation_chunks(clients: np.ndarray) -> list[np.ndarray]:
    """Client ids cut into the chunks that ``Host.evaluate`` takes."""
    return [clients[begin : begin + EVALUATION_CHUNK] for begin in range(0, len(clients), EVALUATION_CHUNK)]
