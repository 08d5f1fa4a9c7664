"""Who takes part in a round, and who of them is malicious.

Both come from streams of their own, so the cohorts of two runs with the same seed are the same whatever else differs
(Khan et al. 2022, section 4.3).
"""

from __future__ import annotations

from functools import cache
from typing import Literal, NamedTuple

import numpy as np

from raysplit import rng
from raysplit.errors import ScenarioError
from raysplit.parts.ownership import is_raysplits
from raysplit.parts.part import part, within
from raysplit.population.population import Population
from raysplit.population.selection.availability import Availability
from raysplit.population.selection.draws import Crowd, Draw, Poisson, Uniform
from raysplit.population.selection.dropouts import Dropouts


class SampledCohort(NamedTuple):
    """``clients``: int64 [n] ids in cohort order; ``malicious``: bool [n]."""

    clients: np.ndarray
    malicious: np.ndarray

    def where(self, chosen: np.ndarray) -> SampledCohort:
        """Those with ``chosen``, bool [n]."""
        return SampledCohort(self.clients[chosen], self.malicious[chosen])


@part
class Cohort:
    """``size`` clients a round, by default sampled uniformly without replacement.

    ``malicious``: the share of malicious clients. ``of="population"``: that share of all clients is malicious, once and
    for all, and a cohort holds as many as the draw brings (hypergeometric: 20 ± 4 of 100 at 20 %). ``of="cohort"``:
    every cohort of n sampled clients holds exactly ``round(malicious · n)``, the ones of lowest rank in one fixed
    random ranking of the population. A larger share contains the malicious clients of a smaller one. The cohort itself
    depends on neither.

    ``draw``: how they are sampled; ``available``: who can be sampled at all (fewer than ``size`` there: all of them);
    ``dropouts``: who of them fails before reporting. ``at_least``: reports that a round needs; with fewer it is passed
    over: nobody trains, the model stays as it was, and the sampled are recorded as dropped (Bonawitz et al. 2019,
    section 2.2).
    """

    size: int
    malicious: float = 0.0
    of: Literal["population", "cohort"] = "population"
    draw: Draw = Uniform()
    available: Availability | None = None
    dropouts: Dropouts | None = None
    at_least: int = 1

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ScenarioError(f"Cohort.size must be at least 1, but it is {self.size}")
        if not 0 <= self.malicious < 1:
            raise ScenarioError(
                f"Cohort.malicious is a share and must be at least 0 and below 1, but it is {self.malicious!r}"
            )
        within("Cohort.at_least", self.at_least, 1)
        if self.at_least > self.size and not isinstance(self.draw, Poisson):
            raise ScenarioError(
                f"Cohort.at_least is {self.at_least}, but Cohort.size is {self.size}, so every round would be passed "
                "over"
            )

    @property
    def assumed(self) -> int:
        """Malicious clients that an operator who knows the share expects in a cohort."""
        return self.assumed_among(self.size)

    def assumed_among(self, clients: int) -> int:
        """Malicious clients that an operator who knows the share expects among ``clients``."""
        return round(self.malicious * clients)

    def malicious_in(self, population: int) -> int:
        """Malicious clients of a population of that many, where the share is the population's."""
        return int(np.rint(self.malicious * population))

    def check(self, population: int, name: str) -> None:
        """Raise ``ScenarioError`` where the population ``name`` of ``population`` clients cannot give such cohorts, and
        ``PopulationError`` where the availability trace does not fit it."""
        if self.size > population:
            raise ScenarioError(
                f"Cohort.size is {self.size}, but the population {name!r} has only {population} clients; draw at most "
                f"{population}"
            )
        if isinstance(self.draw, Poisson) and self.draw.rate is not None:
            mean = self.draw.rate * population
            if abs(mean - self.size) >= 1:
                raise ScenarioError(
                    f"Poisson(rate={self.draw.rate:g}) draws {mean:g} of the {population} clients of {name!r} on "
                    f"average, but Cohort.size is {self.size}; give size={max(1, round(mean))} or leave rate out"
                )
        if self.available is not None:
            self.available.presence(population)


def malicious_ranks(seed: int, population: int) -> np.ndarray:
    """The fixed random ranking of the population, int32 [population]; the lowest ranks become malicious first."""
    return rng.stream(seed, "malicious").permutation(np.arange(population, dtype=np.int32))


def draw(cohort: Cohort, seed: int, round: int, ranks: np.ndarray, crowd: Crowd | None = None) -> SampledCohort:
    """The cohort of a round (1-based) from the population that ``ranks`` ranks; raises ``ScenarioError`` if it is too
    small.

    ``crowd`` is that population with its sizes and who is there; None: all are, and have one sample each.
    """
    population = len(ranks)
    if cohort.size > population:
        raise ScenarioError(
            f"Cohort.size is {cohort.size}, but the population has only {population} clients; draw at most {population}"
        )
    if crowd is None:
        crowd = Crowd(population, lambda: np.ones(population, dtype=np.int64))
    clients = cohort.draw.draw(cohort.size, seed, round, crowd)
    if not is_raysplits(cohort.draw):
        _check_drawn(type(cohort.draw).__name__, clients, crowd)
    sampled_ranks = ranks[clients]
    if cohort.of == "population":
        malicious = sampled_ranks < cohort.malicious_in(population)
    else:
        malicious = np.zeros(len(clients), dtype=bool)
        malicious[np.argsort(sampled_ranks, kind="stable")[: cohort.assumed_among(len(clients))]] = True
    return SampledCohort(clients.astype(np.int64), malicious)


def _check_drawn(name: str, clients: object, crowd: Crowd) -> None:
    """Raise ``ScenarioError`` unless a user's own draw gave a cohort: who is there, none twice."""
    whole = isinstance(clients, np.ndarray) and clients.ndim == 1 and clients.dtype.kind in "iu"
    if not isinstance(clients, np.ndarray) or not whole:
        got = f"{clients.dtype}{list(clients.shape)}" if isinstance(clients, np.ndarray) else type(clients).__name__
        raise ScenarioError(f"{name}.draw() must return client ids, an array of whole numbers [n], but it gave {got}")
    strangers = np.setdiff1d(clients, crowd.ids())
    if len(strangers):
        raise ScenarioError(
            f"{name}.draw() drew client {strangers[0]}, who is not among the {len(crowd.ids())} clients that can be "
            "sampled in this round; draw from crowd.ids()"
        )
    if len(np.unique(clients)) < len(clients):
        raise ScenarioError(f"{name}.draw() drew a client twice; draw without replacement")


class Participation(NamedTuple):
    """Who was sampled, and what came of it: ``reporting``, whose portions arrive; ``lost``, who train and whose
    portions do not; ``absent``, who never train. All in cohort order."""

    reporting: SampledCohort
    lost: SampledCohort
    absent: SampledCohort

    @property
    def dropped(self) -> SampledCohort:
        """Everybody who was sampled and did not report."""
        return SampledCohort(*(np.concatenate(pair) for pair in zip(self.lost, self.absent, strict=True)))


class ParticipationSampler:
    """The participation in every round of one simulation, in any order: opened once, it remembers nothing of earlier
    rounds."""

    def __init__(self, cohort: Cohort, seed: int, population: Population) -> None:
        """Raises ``ScenarioError`` or ``PopulationError`` where the cohort does not fit the population."""
        self.cohort, self.seed = cohort, seed
        self._clients = population.info.trainable
        cohort.check(self._clients, population.info.name)
        self.ranks = malicious_ranks(seed, self._clients)
        self._samples = cache(lambda: population.train_sizes(np.arange(self._clients, dtype=np.int64)))
        self._present = None if cohort.available is None else cohort.available.presence(self._clients)

    def _checked(self, present: np.ndarray, round: int) -> np.ndarray:
        """Raise ``ScenarioError`` unless an availability says of every client whether it is there."""
        if not isinstance(present, np.ndarray) or present.dtype != bool or present.shape != (self._clients,):
            shown = f"{present.dtype}{list(present.shape)}" if isinstance(present, np.ndarray) else repr(present)
            raise ScenarioError(
                f"{type(self.cohort.available).__name__}.presence() must say of round {round} who is there, bool "
                f"[{self._clients}], but it says {shown}"
            )
        return present

    def of(self, round: int) -> Participation:
        """Who takes part in a round (1-based)."""
        cohort = self.cohort
        present = None if self._present is None else self._checked(self._present(round), round)
        sampled = draw(cohort, self.seed, round, self.ranks, Crowd(self._clients, self._samples, present))
        failed = np.zeros(len(sampled.clients), dtype=bool)
        if cohort.dropouts is not None:
            failed = cohort.dropouts.fail(self.seed, round, sampled.clients)
        nobody = sampled.where(np.zeros(len(sampled.clients), dtype=bool))
        if np.count_nonzero(~failed) < cohort.at_least:
            return Participation(nobody, nobody, sampled)
        if cohort.dropouts is not None and cohort.dropouts.when == "after":
            return Participation(sampled.where(~failed), sampled.where(failed), nobody)
        return Participation(sampled.where(~failed), nobody, sampled.where(failed))
