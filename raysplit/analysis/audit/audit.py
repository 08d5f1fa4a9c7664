"""An audit of ``Scenario.privacy``: canaries in the training itself, and what their fate tells of ε.

The scenario is played on the local engine as it stands, but for canaries among its samples. Who audits reads what the fed
server receives: each client's update, and each server replica's where there are some. Nothing of the mechanism is
assumed, so a mechanism that does less than it claims is found out if it tells of the canaries.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch

from raysplit.aggregation.rules.secure_aggregation import SecureAggregation
from raysplit.analysis.audit.canaries import Canaries, InsertedSum
from raysplit.analysis.audit.canary_samples import WithCanarySamples, coin
from raysplit.analysis.audit.one_run import Guesses, best, guessed, largest_possible
from raysplit.analysis.audit.power import expected_bound
from raysplit.analysis.audit.setup import DEFAULT, Setup
from raysplit.channels.channel import Channel
from raysplit.defenses.privacy.ledger import Ledger
from raysplit.defenses.privacy.noisy_sum import NoisySum, PrivateSum
from raysplit.defenses.privacy.rules import ClippedClient, ClippedServer
from raysplit.engine.local import LocalEngine
from raysplit.errors import ScenarioError
from raysplit.memory.global_state import GlobalState
from raysplit.population.opening import open_population
from raysplit.population.selection.cohort import Cohort
from raysplit.scenario.layout import Layout
from raysplit.scenario.population_check import check_population
from raysplit.scenario.scenario import Evaluation, Scenario
from raysplit.simulation.privacy import PrivacySpent
from raysplit.simulation.round import Simulation, play_round
from raysplit.storage.updates import RecordedRound
from raysplit.threads import one_thread

Mechanism = Callable[[NoisySum], PrivateSum]
"""How gradients of single samples become a batch's, in place of the scenario's own sum: another one to be audited."""


@dataclass(frozen=True)
class Audit:
    """``claimed``: the accountant's ε at ``delta``, of the client that trained most, whether or not the scenario claims
    it. ``found``: every bound that was tried, all at once at ``confidence``. ``expected``: what a Gaussian mechanism that
    is as it claims would show, in the median; ``possible``: what perfect guesses would. ``sees``: the channels that were
    read."""

    scenario: Scenario
    setup: Setup
    spent: PrivacySpent
    found: list[Guesses]
    expected: float
    possible: float
    rounds: int
    sees: tuple[str, ...]

    @property
    def claimed(self) -> float:
        return self.spent.largest

    @property
    def delta(self) -> float:
        return self.spent.ledger.delta

    @property
    def best(self) -> Guesses:
        return best(self.found)

    @property
    def refuted(self) -> bool:
        """Whether the claimed ε cannot be true, at the audit's confidence."""
        return self.best.epsilon > self.claimed


@one_thread()
def audit(scenario: Scenario, setup: Setup = DEFAULT, mechanism: Mechanism | None = None) -> Audit:
    """Play ``scenario`` with canaries. ``mechanism``: of sums of one's own, None: the scenario's. Raises
    ``ScenarioError`` where there is nothing to audit or nothing that the fed server would receive."""
    _check(scenario, setup)
    privacy = scenario.privacy
    assert privacy is not None and privacy.max_norm is not None
    setup = replace(setup, canaries=1) if setup.kind == "sample" else setup
    played = _audited(scenario, setup)
    population = open_population(played.population)
    check_population(played, population.info)

    def samples(client: int) -> int:
        return int(population.train_sizes(np.array([client]))[0])

    canaries = None
    if setup.kind != "sample":
        batching, norm = scenario.training.batching, 1000 * privacy.max_norm
        canaries = Canaries(setup.seed, setup.canaries, setup.kind, norm, batching, samples)
    references = None if canaries is not None else References(played, setup, mechanism)
    scores = Scores(canaries, references)
    spent: PrivacySpent | None = None
    with _engine(played, mechanism, canaries) as engine:
        simulation = Simulation.of(played, population, engine, Layout(played), scores.note)
        state = simulation.layout.initial()
        for _ in range(played.training.rounds):
            scores.begin(state)
            last = play_round(simulation, state)
            state, spent = last.state, last.privacy if last.privacy is not None else spent
    if references is not None:
        references.close()
    if spent is None or not scores.clients:
        raise ScenarioError("nobody trained in the rounds that were audited; audit more of them with --rounds")
    return _concluded(scenario, setup, spent, scores)


def _check(scenario: Scenario, setup: Setup) -> None:
    if scenario.privacy is None or scenario.privacy.max_norm is None:
        raise ScenarioError(
            f"raysplit audit looks for canaries in clipped training, but scenario {scenario.name!r} has no "
            "privacy=PerExampleClipping(…) with a max_norm; choose one that has"
        )
    if scenario.protocol.client_sync != "averaging":
        raise ScenarioError(
            f"raysplit audit reads what clients send to a fed server, but {type(scenario.protocol).__name__} sends it "
            "nothing; audit the same privacy with FedAvg or SplitFedV1"
        )
    if isinstance(scenario.defense, SecureAggregation):
        raise ScenarioError(
            "raysplit audit reads single updates, but under SecureAggregation nobody sees any; audit the same privacy "
            "without it"
        )
    layout = Layout(scenario)
    split = scenario.protocol.server != "none"
    for side, floats in [
        ("client", layout.client.parameters),
        *([("server", layout.server.parameters)] if split else []),
    ]:
        if setup.kind == "dirac" and setup.canaries > floats:
            raise ScenarioError(
                f"a Dirac canary has a parameter of its own, but the {side} portion has {floats} for {setup.canaries} "
                "canaries; give fewer with --canaries, or --kind random"
            )
    if setup.kind == "sample" and scenario.training.poisson_rate is None:
        raise ScenarioError(
            "canary samples are in a client's set or not, but with shuffled batches the privacy that is claimed takes the "
            "sizes of sets for public; use --kind dirac, or Training.poisson_rate"
        )


def _audited(scenario: Scenario, setup: Setup) -> Scenario:
    """The scenario as it is played: without adversaries, with the updates of every round at hand."""
    changes: dict[str, Any] = {
        "attack": None,
        "observe": None,
        "record_updates_every": 1,
        "evaluation": Evaluation(every=scenario.training.rounds, clients=1),
    }
    if setup.rounds is not None:
        changes["training.rounds"] = setup.rounds
    if setup.kind == "sample":
        changes["population"] = WithCanarySamples(scenario.population, "by_coin", setup.seed)
    return scenario.replace(**changes)


def _engine(scenario: Scenario, mechanism: Mechanism | None, canaries: Canaries | None) -> LocalEngine:
    """The local engine, with the scenario's own gradient rules but for the canaries, and for the ``mechanism``."""
    assert scenario.privacy is not None
    batch = scenario.training.batch_size
    client, server = scenario.privacy.client_rule(batch), scenario.privacy.server_rule(batch)

    def inserted(rule: ClippedClient | ClippedServer, side: Literal["client", "server"]) -> PrivateSum:
        real = rule.noisy_sum
        assert isinstance(real, NoisySum)
        found = real if mechanism is None else mechanism(real)
        return found if canaries is None else InsertedSum(found, canaries, side)

    assert isinstance(client, ClippedClient)
    return LocalEngine(
        scenario,
        gradient_rule=ClippedClient(inserted(client, "client")),
        server_rule=ClippedServer(inserted(server, "server")) if isinstance(server, ClippedServer) else None,
    )


class References:
    """What a round would bring without noise, with everybody's canary sample and with nobody's: by these an auditor who
    knows everything but the coins judges an update. Batches are drawn anew, so that they tell of no coin."""

    def __init__(self, scenario: Scenario, setup: Setup, mechanism: Mechanism | None) -> None:
        assert scenario.privacy is not None and isinstance(scenario.population, WithCanarySamples)
        everybody = Cohort(open_population(scenario.population).info.trainable)
        self._simulations = []
        self._now: dict[tuple[Channel, int], torch.Tensor] = {}
        for who in ("all", "none"):
            quiet = scenario.replace(
                population=replace(scenario.population, who=who),
                cohort=everybody,
                privacy=replace(scenario.privacy, noise_multiplier=0.0, guarantee=False, budget=None),
                seed=scenario.seed + 1,
            )
            engine, population = _engine(quiet, mechanism, None), open_population(quiet.population)
            self._simulations.append(Simulation.of(quiet, population, engine, Layout(quiet), self._note))

    def begin(self, state: GlobalState) -> None:
        """Play the round after ``state`` both ways."""
        found = []
        for simulation in self._simulations:
            self._now = {}
            play_round(simulation, state)
            found.append(self._now)
        self._with, self._without = found

    def along(self, channel: Channel, client: int, update: torch.Tensor) -> float:
        """By how much more ``update`` looks like one with the canary than like one without: up to a factor the
        likelihood ratio under equal Gaussian noise on both."""
        there, gone = self._with[channel, client], self._without[channel, client]
        return float((update.double() - (there + gone) / 2) @ (there - gone))

    def close(self) -> None:
        for simulation in self._simulations:
            simulation.engine.close()

    def _note(self, recorded: RecordedRound) -> None:
        for client, update in zip(recorded.clients.tolist(), recorded.updates, strict=True):
            self._now[recorded.channel, client] = update.double().clone()


class Scores:
    """What was read of every canary, all rounds together; of a canary that is in they are higher."""

    def __init__(self, canaries: Canaries | None, references: References | None) -> None:
        self.canaries, self._references = canaries, references
        self.along: dict[int, np.ndarray] = {}
        self.norms: dict[int, float] = {}
        self.rounds: dict[int, int] = {}
        self.channels: set[Channel] = set()

    @property
    def clients(self) -> list[int]:
        return sorted(self.along)

    def begin(self, state: GlobalState) -> None:
        if self._references is not None:
            self._references.begin(state)

    def note(self, recorded: RecordedRound) -> None:
        """Read the updates of a round on one channel, as their receiver gets them."""
        channel = recorded.channel
        self.channels.add(channel)
        side: Literal["client", "server"] = "server" if channel is Channel.SERVER_UPDATES else "client"
        for client, update in zip(recorded.clients.tolist(), recorded.updates.cpu(), strict=True):
            if self.canaries is None:
                assert self._references is not None
                found = np.array([self._references.along(channel, client, update)])
            else:
                found = -self.canaries.direction(client, side, len(update)).along(update)  # a step is downhill
            self.along[client] = self.along.get(client, 0.0) + found
            self.norms[client] = self.norms.get(client, 0.0) + float(update.double().norm())
            self.rounds[client] = self.rounds.get(client, 0) + (side == "client")


def _concluded(scenario: Scenario, setup: Setup, spent: PrivacySpent, scores: Scores) -> Audit:
    clients = scores.clients
    by_score = {"direction": np.concatenate([scores.along[client] for client in clients])}
    if setup.canaries == 1:  # else a client's other canaries are in its update too
        sizes = open_population(scenario.population).train_sizes(np.array(clients))
        # Where the divisor is a batch's size, a canary makes the noise smaller, and norms go with 1/n.
        by_score["small update"] = -np.array([scores.norms[c] / scores.rounds[c] for c in clients]) * sizes
    if scores.canaries is None:
        coins = np.array([coin(setup.seed, client) for client in clients])
    else:
        coins = np.concatenate([scores.canaries.coins(client) for client in clients])
    ledger = spent.ledger
    assert isinstance(ledger, Ledger)
    found = guessed(by_score, coins, ledger.delta, setup.confidence)
    seen = {Channel.UPDATES, Channel.SERVER_UPDATES} if ledger.split else {Channel.UPDATES}
    return Audit(
        scenario,
        setup,
        spent,
        found,
        expected_bound(
            _multiplier(ledger, scores.channels >= seen),
            ledger.batching.rate,
            max(int(n) for n in spent.applications),
            setup,
            len(coins),
            len(by_score),
            ledger.delta,
        ),
        largest_possible(len(coins), len(by_score), ledger.delta, setup.confidence),
        setup.rounds or scenario.training.rounds,
        tuple(sorted(channel.value for channel in scores.channels)),
    )


def _multiplier(ledger: Ledger, both: bool) -> float:
    """Of what the auditor sees: of one sum, or of ``both`` where the server portion is clipped too."""
    one_sum = replace(ledger, split=False)
    return (ledger if both else one_sum).multiplier(max(ledger.batching.size or 1, 1))
