"""The honest updates on which attacks and rules are compared: synthetic, or recorded by a run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from raysplit import rng
from raysplit.errors import RunError, ScenarioError
from raysplit.storage.updates import RecordedRound, path_of, read_updates, recorded_rounds

HELD_OUT = 3
"""Benign rows whose mean stands in for the update of root clients."""


@dataclass(frozen=True, eq=False)
class HonestUpdates:
    """``round``: the honest updates of all clients, and what a fed server knows of them. ``title``: where they come
    from."""

    round: RecordedRound
    title: str
    notes: tuple[str, ...] = ()

    def with_reference(self) -> HonestUpdates:
        """For a rule that names root clients: with the run's own reference, or the mean of ``HELD_OUT`` benign rows,
        which leave the matrix.

        Raises ``ScenarioError`` where too few benign rows would be left.
        """
        round = self.round
        if round.reference is not None:
            return self
        benign = torch.nonzero(~round.malicious).flatten()
        if len(benign) <= HELD_OUT:
            raise ScenarioError(
                f"the reference of root clients is the mean of {HELD_OUT} benign rows that are held out, but there "
                f"are only {len(benign)}"
            )
        held_out = benign[-HELD_OUT:]
        kept = torch.ones(len(round.updates), dtype=torch.bool)
        kept[held_out] = False
        weights = round.weights[kept]
        rest = replace(
            round,
            updates=round.updates[kept],
            weights=weights / weights.sum(),
            clients=round.clients[kept.numpy()],
            malicious=round.malicious[kept],
            reference=round.updates[held_out].mean(0),
        )
        return replace(self, round=rest)


def synthetic(n: int, m: int, d: int, seed: int) -> HonestUpdates:
    """n updates of d floats as heterogeneous clients send them, m of them (anywhere) malicious: what SGD noise and
    skewed data look like.

    Row i is s_i (μ + h_i ∘ σ): μ a common direction, N(0, 1) a coordinate; σ a standard deviation a coordinate,
    log-normal with median 2; h_i Student-t noise with 3 degrees of freedom, scaled to variance 1; s_i the client's own
    length, log-normal around 1. All rows weigh the same, the global portion is zero. Raises ``ScenarioError`` unless 0
    ≤ m < n and d ≥ 1.
    """
    if not (0 <= m < n and d >= 1):
        raise ScenarioError(f"--synthetic N,M,D needs 0 ≤ M < N and D ≥ 1, but it is {n},{m},{d}")
    stream = rng.stream(seed, "matrix", n, m, d)
    mean = stream.standard_normal(d)
    deviation = 2 * stream.lognormal(0.0, 0.5, d)
    lengths = stream.lognormal(0.0, 0.3, n)
    malicious = torch.zeros(n, dtype=torch.bool)
    malicious[torch.from_numpy(np.sort(stream.permutation(n)[:m]))] = True
    updates = torch.empty(n, d)
    for row in range(n):
        noise = stream.standard_t(3, d) / np.sqrt(3)
        updates[row] = torch.from_numpy(lengths[row] * (mean + noise * deviation))
    round = RecordedRound(
        round=1,
        seed=seed,
        scenario="synthetic",
        assumed=m,
        attacked=False,
        updates=updates,
        honest=updates[:0],
        weights=torch.full((n,), 1 / n),
        clients=np.arange(n),
        malicious=malicious,
        portion=torch.zeros(d),
    )
    return HonestUpdates(round, f"synthetic updates, n = {n}, m = {m}, d = {d}, seed {seed}")


def recorded(path: Path, round: int | None = None) -> HonestUpdates:
    """A recorded file, or of a run folder the newest recorded round, or ``round``; poison that the run itself sent is
    taken out.

    Raises ``RunError`` where nothing is recorded there.
    """
    file = path
    if path.is_dir():
        folder = path / "updates"
        rounds = recorded_rounds(folder)
        if not rounds:
            raise RunError(f"{path} has no recorded updates; run its scenario with Scenario.record_updates_every")
        if round is not None and round not in rounds:
            raise RunError(
                f"{path} has no recorded updates of round {round}; it has rounds {', '.join(map(str, rounds))}"
            )
        file = path_of(folder, rounds[-1] if round is None else round)
    elif round is not None:
        raise ScenarioError("--round chooses among the rounds of a run folder; leave it out with a file")
    received = read_updates(file)
    n, d = received.updates.shape
    honest = replace(received, updates=received.before_poisoning(), honest=received.updates[:0], attacked=False)
    title = f"{file}, n = {n}, m = {int(received.malicious.sum())}, d = {d}"
    notes = ("The run's own attack was taken out of the recorded rows first.",) if received.attacked else ()
    return HonestUpdates(honest, title, notes)
