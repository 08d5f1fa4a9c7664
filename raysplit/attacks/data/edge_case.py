"""Edge-case backdoor: samples from another pool, such as few clients have, are called the target class (Wang et al.,
NeurIPS 2020).

The paper ("Attack of the Tails") is not at hand; this is from memory.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from typing import cast

import numpy as np
import torch

from raysplit.aggregation.update_attack import check_start_round
from raysplit.attacks.data.data_attack import DataAttack, DataView, TestView, check_class, check_share, pick
from raysplit.errors import PopulationError
from raysplit.models.network import ModelSpec
from raysplit.parts.part import part, within
from raysplit.population.opening import open_population
from raysplit.population.partition.pool import Part, Pool
from raysplit.population.population import PopulationSpec, Samples


@part
class EdgeCaseBackdoor(DataAttack):
    """round(``share`` · n) of a malicious client's n samples give way to training samples of ``pool``, with the label
    ``target``.

    ``pool``: any population with samples of the same shape and type; its own labels do not matter. Every malicious
    client draws its own, the same ones in every round. ``tested``: test samples of the pool, drawn once, that are shown
    to the model at each evaluation client. Success: the share of them that is classified as ``target``. Raises
    ``PopulationError`` where the pool's samples are of another shape.
    """

    pool: PopulationSpec
    target: int
    share: float = 0.3
    tested: int = 10
    start_round: int = 1

    def __post_init__(self) -> None:
        check_start_round("EdgeCaseBackdoor", self.start_round)
        check_share("EdgeCaseBackdoor.share", self.share)
        check_class("EdgeCaseBackdoor.target", self.target)
        within("EdgeCaseBackdoor.tested", self.tested, 1)

    def fits(self, model: ModelSpec) -> None:
        check_class("EdgeCaseBackdoor.target", self.target, model)

    def poison_samples(self, view: DataView) -> Samples:
        chosen = pick(view, torch.ones_like(view.own.y, dtype=torch.bool), self.share)
        x, y = view.own.x.clone(), view.own.y.clone()
        if len(chosen):
            x[chosen] = self._drawn("train", len(chosen), view.own.x, view.rng)
            y[chosen] = self.target
        return Samples(x, y)

    def attempts(self, view: TestView) -> Samples:
        x = self._drawn("test", self.tested, view.own.x, view.rng)
        return Samples(x, torch.full((len(x),), self.target))

    def _drawn(self, part: Part, count: int, like: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """``count`` samples of the pool, [count, C, H, W], each at most once where there are enough."""
        pool, name = _opened(cast(Hashable, self.pool), part)
        if pool.samples == 0:
            raise PopulationError(f"EdgeCaseBackdoor.pool: population {name!r} has no {part} samples; take another one")
        numbers = rng.choice(pool.samples, count, replace=count > pool.samples)
        distinct, places = np.unique(numbers, return_inverse=True)
        x = pool.read(distinct).x[torch.from_numpy(places)]
        if x.shape[1:] != like.shape[1:] or x.dtype != like.dtype:
            raise PopulationError(
                f"EdgeCaseBackdoor.pool: samples of {name!r} are {x.dtype} {list(x.shape[1:])}, but those of the "
                f"scenario's population are {like.dtype} {list(like.shape[1:])}; take a pool of the same kind"
            )
        return x


@lru_cache(maxsize=4)
def _opened(spec: Hashable, part: Part) -> tuple[Pool, str]:
    """A pool is opened once a process: it is read in every round, and an open population never changes."""
    opened = open_population(cast(PopulationSpec, spec))
    return Pool(opened, part), opened.info.name
