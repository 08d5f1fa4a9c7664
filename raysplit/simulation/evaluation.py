"""Evaluating the global model: on the same clients' test sets every time, all of them together and client by client."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from raysplit import rng
from raysplit.engine.engine import Engine
from raysplit.memory.global_state import GlobalState
from raysplit.population.population import PopulationInfo
from raysplit.protocols.class_counts import ClassCounts
from raysplit.protocols.outcome import ClientScores, Outcome
from raysplit.scenario.scenario import Scenario
from raysplit.storage.spread import Spread


@dataclass(frozen=True)
class Evaluated:
    """Test results over all evaluated samples, and their spread over clients and classes.

    ``by_class``: samples, right answers and predictions of every class, and from them ``by_class.accuracy``, None for a
    class that no evaluated client has; ``balanced_accuracy``: mean of those that are not None; ``macro_f1``: mean F1.
    ``attack_samples``: with which the success of an attack was measured, None where no attack has a goal;
    ``attack_success``: the share of them that were classified as it wants, None where there were none."""

    clients: int
    samples: int
    loss: float
    accuracy: float
    spread: Spread
    scores: ClientScores
    attack_samples: int | None = None
    attack_success: float | None = None

    @property
    def by_class(self) -> ClassCounts:
        return self.scores.by_class

    @property
    def balanced_accuracy(self) -> float | None:
        return self.by_class.balanced_accuracy

    @property
    def macro_f1(self) -> float | None:
        return self.by_class.macro_f1

    @staticmethod
    def of(scores: ClientScores) -> Evaluated:
        samples = int(scores.samples.sum())
        per_client = scores.correct[scores.samples > 0] / scores.samples[scores.samples > 0]
        attempts = None if scores.attempts is None else int(scores.attempts.sum())
        succeeded = None if scores.successes is None or not attempts else float(scores.successes.sum() / attempts)
        return Evaluated(
            clients=len(scores.clients),
            samples=samples,
            loss=float(scores.loss.sum() / samples),
            accuracy=float(scores.correct.sum() / samples),
            spread=Spread.of(per_client),
            scores=scores,
            attack_samples=attempts,
            attack_success=succeeded,
        )


def evaluation_clients(scenario: Scenario, info: PopulationInfo) -> np.ndarray:
    """Whose test sets the global model is evaluated on: the same clients in every round and trial, int64, ascending.

    Where the last clients of the population never train (``info.unseen``), they are, and nobody else.
    """
    among, count = info.unseen or info.clients, scenario.evaluation.clients
    first = info.clients - among
    if count is None or count >= among:
        return np.arange(first, info.clients, dtype=np.int64)
    drawn = rng.stream(scenario.seed, "evaluation").choice(among, count, replace=False, shuffle=False)
    return np.sort(drawn) + first


def evaluate(
    scenario: Scenario, engine: Engine, clients: np.ndarray, state: GlobalState, outcome: Outcome
) -> Evaluated:
    """The model of ``state`` on the test sets of ``clients``, each with a portion of its own where clients keep one.

    Where a protocol tests its clients while they train, as published code does, these scores are taken instead.
    """
    if outcome.tests:
        return Evaluated.of(ClientScores.joined([outcome.tests[position] for position in sorted(outcome.tests)]))
    own = state.client_portions if scenario.protocol.client_sync == "personal" else None
    return Evaluated.of(engine.evaluate(clients, state.client, state.server, own))
