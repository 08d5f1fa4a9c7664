"""Who takes part in a round, and who of them is malicious.

Both come from streams of their own, so the cohorts of two runs with the same seed are the same whatever else differs
(Khan et al. 2022, section 4.3).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from raysplit import rng
from raysplit.errors import ScenarioError
from raysplit.parts import part


class Drawn(NamedTuple):
    """``clients``: int64 [n] ids in cohort order; ``malicious``: bool [n]."""

    clients: np.ndarray
    malicious: np.ndarray


@part
class Cohort:
    """``size`` clients drawn uniformly without replacement each round.

    ``malicious``: the share of malicious clients. ``of="population"``: that share of all clients is malicious, once and for all, and a
    cohort holds as many as the draw brings (hypergeometric: 20 ± 4 of 100 at 20 %). ``of="cohort"``: every cohort holds exactly
    ``round(malicious · size)``, the ones of lowest rank in one fixed random ranking of the population.
    A larger share contains the malicious clients of a smaller one. The cohort itself depends on neither.
    """

    size: int
    malicious: float = 0.0
    of: Literal["population", "cohort"] = "population"

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ScenarioError(f"Cohort.size must be at least 1, but it is {self.size}")
        if not 0 <= self.malicious < 1:
            raise ScenarioError(
                f"Cohort.malicious is a share and must be at least 0 and below 1, but it is {self.malicious!r}"
            )

    @property
    def declared(self) -> int:
        """Malicious clients that an operator who knows the share expects in a cohort."""
        return round(self.malicious * self.size)


def malicious_ranks(seed: int, population: int) -> np.ndarray:
    """The fixed random ranking of the population, int32 [population]; the lowest ranks turn malicious first."""
    return rng.stream(seed, "malicious").permutation(np.arange(population, dtype=np.int32))


def draw(cohort: Cohort, seed: int, round: int, ranks: np.ndarray) -> Drawn:
    """The cohort of a round (1-based) from the population that ``ranks`` ranks; raises ``ScenarioError`` if it is too small."""
    population = len(ranks)
    if cohort.size > population:
        raise ScenarioError(
            f"Cohort.size is {cohort.size}, but the population has only {population} clients; draw at most {population}"
        )
    clients = np.sort(rng.stream(seed, "cohort", round).choice(population, cohort.size, replace=False, shuffle=False))
    mine = ranks[clients]
    if cohort.of == "population":
        malicious = mine < int(np.rint(cohort.malicious * population))
    else:
        malicious = np.zeros(cohort.size, dtype=bool)
        malicious[np.argsort(mine, kind="stable")[: cohort.declared]] = True
    return Drawn(clients.astype(np.int64), malicious)
