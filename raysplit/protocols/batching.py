"""How a party cuts its samples into batches: sizes that everybody can work out, and who is in which batch."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from raysplit import rng

LastBatch = Literal["keep", "drop", "join"]


class Batching(NamedTuple):
    """Batches of ``size`` samples (None: the whole set is one), and what becomes of the n mod ``size`` samples that are
    left in an epoch: a smaller batch of their own (``keep``), left out of this epoch (``drop``), or in the batch before
    them (``join``). Fewer than ``size`` samples are one batch in any case.

    With a ``rate`` every sample is in every batch with that probability, by itself (Poisson sampling); an epoch has
    round(1 / ``rate``) batches, whatever the client has, and ``lengths`` are what is expected.
    """

    size: int | None
    last: LastBatch = "keep"
    rate: float | None = None

    def lengths(self, samples: int) -> list[int]:
        """The batches of one pass over ``samples``."""
        if self.rate is not None:
            return [round(self.rate * samples)] * self.steps(samples)
        if self.size is None or samples <= self.size:
            return [samples]
        full, rest = divmod(samples, self.size)
        lengths = [self.size] * full
        if rest and self.last == "keep":
            lengths.append(rest)
        elif self.last == "join":
            lengths[-1] += rest
        return lengths

    def steps(self, samples: int) -> int:
        """How many batches one pass over ``samples`` has."""
        if self.rate is not None:
            return max(1, round(1 / self.rate))
        if self.size is None or samples <= self.size:
            return 1
        return -(-samples // self.size) if self.last == "keep" else samples // self.size

    def seen(self, samples: int) -> int:
        """How many of ``samples`` one pass goes over."""
        return samples if self.last != "drop" and self.rate is None else sum(self.lengths(samples))

    def length(self, samples: int, step: int) -> int:
        """How many samples batch number ``step`` (over all local epochs) has."""
        if self.rate is not None:
            return round(self.rate * samples)
        begin, end = self._bounds(samples, step % self.steps(samples))
        return end - begin

    def indices(self, seed: int, round: int, client: int, step: int, samples: int) -> np.ndarray | None:
        """The samples of one batch, int64; None for the whole set in its own order.

        Every local epoch is a fresh permutation from the stream (seed, "batches", round, client, epoch); Poisson batches
        come from (seed, "poisson_batches", round, client, step), and may be empty.
        """
        if self.rate is not None:
            drawn = rng.stream(seed, "poisson_batches", round, client, step).random(samples)
            return np.flatnonzero(drawn < self.rate)
        epoch, batch = divmod(step, self.steps(samples))
        begin, end = self._bounds(samples, batch)
        if end - begin == samples:
            return None
        return rng.stream(seed, "batches", round, client, epoch).permutation(samples)[begin:end]

    def _bounds(self, samples: int, batch: int) -> tuple[int, int]:
        if self.size is None or samples <= self.size:
            return 0, samples
        begin, end = batch * self.size, (batch + 1) * self.size
        if batch == self.steps(samples) - 1 and self.last != "drop":
            end = samples
        return begin, end


WHOLE_SETS = Batching(None)
