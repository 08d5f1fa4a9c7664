"""The points of a frontier as numbers, read from the tables of their runs and from what was inferred."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from raysplit.analysis.frontier.leakage import Leak
from raysplit.analysis.runs.run import Run, open_run
from raysplit.errors import RunError
from raysplit.scenario.frontier import Point

MEAN_IMAGE = "mean image"
Status = Literal["finished", "diverged", "unfinished", "failed", "refused", "none"]
"""Of a run; none: there is to be none."""


@dataclass(frozen=True)
class PointRun:
    """What became of one scenario of a point. ``run``: None where nothing was recorded; ``why``: a sentence where it was
    refused or failed."""

    folder: Path | None
    run: Run | None
    status: Status
    why: str = ""

    @property
    def accuracy(self) -> float | None:
        """At the last evaluation of a run that has ended."""
        return self.run.summary().final if self.run is not None and self.run.state.finished else None


@dataclass(frozen=True)
class Measured:
    """One point. Accuracies and the drop as fractions.

    ``ssim``, ``identified``: of the strongest attack on inputs; ``error``: its mean squared error over the mean
    auxiliary image's, 1 where it found no more than that, each of whichever attack was best at it; ``guess_ssim``: of the
    best image that needs no message. ``labels``: labels right (under the best naming where an attack names none);
    ``auc``: leak AUC of one class against the rest; ``membership``: AUC. ``strongest``: which attack each is of.
    ``bytes``: of all messages of a round, all clients, labels included, a mean over rounds; ``channel_bytes``: by
    channel. ``virtual_s``: a round's on the scenario's devices, a mean. ``epsilon``: the largest that was claimed of any
    client. None: not measured, or there is none.
    """

    point: Point
    clean: PointRun
    attacked: PointRun
    leaks: tuple[Leak, ...] = ()
    accuracy: float | None = None
    drop: float | None = None
    ssim: float | None = None
    identified: float | None = None
    error: float | None = None
    guess_ssim: float | None = None
    labels: float | None = None
    auc: float | None = None
    membership: float | None = None
    strongest: Mapping[str, str] = field(default_factory=dict)
    bytes: float | None = None
    channel_bytes: Mapping[str, float] = field(default_factory=dict)
    virtual_s: float | None = None
    epsilon: float | None = None

    @property
    def label(self) -> str:
        return f"{self.point.cut}, {self.point.defense}"

    @property
    def why(self) -> list[str]:
        """What is missing at this point and why, a sentence each."""
        found = [self.clean.why] if self.clean.why else []
        if self.clean.status == "diverged":
            found.append("the clean run diverged, so it was not attacked and is on no front")
        if not self.clean.why and self.attacked.why:
            found.append(f"poisoned: {self.attacked.why}")
        if self.attacked.status == "diverged":
            found.append("the poisoned run diverged")
        return found + [f"{leak.attack}: {leak.why}" for leak in self.leaks if leak.why]


def outcome(folder: Path | None, why: str, refused: bool) -> PointRun:
    """What is in a run folder. ``why``: a sentence that stopped it, or kept it from being tried (``refused``)."""
    if refused:
        return PointRun(folder, None, "refused", why)
    if folder is None:
        return PointRun(None, None, "none")
    try:
        run = open_run(folder)
    except RunError:
        return PointRun(folder, None, "failed" if why else "unfinished", why)
    status: Status = "failed" if why else "unfinished"
    if not why and run.state.finished:
        status = "diverged" if run.state.status == "diverged" else "finished"
    return PointRun(folder, run, status, why)


def measured(point: Point, clean: PointRun, attacked: PointRun, leaks: Sequence[Leak]) -> Measured:
    """A point as numbers: those of a clean run that has not ended are left out."""
    run = clean.run
    if run is None or clean.accuracy is None:
        return Measured(point, clean, attacked, tuple(leaks))
    found, strongest = _strongest(leaks)
    channels = _channel_bytes(run)
    times = [time for time in run.rounds.column("virtual_s").to_pylist() if time is not None]
    epsilons = [epsilon for epsilon in run.privacy.column("epsilon").to_pylist() if epsilon is not None]
    after = attacked.accuracy
    return Measured(
        point,
        clean,
        attacked,
        tuple(leaks),
        accuracy=clean.accuracy,
        drop=None if after is None else clean.accuracy - after,
        guess_ssim=max((value for leak in leaks for value in leak.guesses("SSIM")), default=None),
        strongest=strongest,
        bytes=sum(channels.values()),
        channel_bytes=channels,
        virtual_s=statistics.fmean(times) if times else None,
        epsilon=max(epsilons, default=None),
        **found,
    )


def _strongest(leaks: Sequence[Leak]) -> tuple[dict[str, float], dict[str, str]]:
    """Of each measure the worst for the clients, and whose it is."""
    values: dict[str, dict[str, float]] = {}
    for leak in leaks:
        for measure, value in _measures_of(leak).items():
            values.setdefault(measure, {})[leak.attack] = value
    by = {
        measure: (min if measure == "error" else max)(found, key=found.__getitem__) for measure, found in values.items()
    }
    return {measure: values[measure][attack] for measure, attack in by.items()}, by


def _measures_of(leak: Leak) -> dict[str, float]:
    mse, mean = leak.score("MSE"), leak.scores.get((MEAN_IMAGE, "MSE"))
    named = leak.score("labels right")
    found = {
        "ssim": leak.score("SSIM"),
        "identified": leak.score("identified"),
        "error": None if mse is None or not mean else mse / mean,
        "labels": leak.score("labels right, best naming") if named is None else named,
        "auc": leak.score("leak AUC"),
        "membership": leak.score("AUC"),
    }
    return {measure: value for measure, value in found.items() if value is not None}


def _channel_bytes(run: Run) -> dict[str, float]:
    """A round's bytes on each channel, a mean over the rounds that were played."""
    found: dict[str, int] = {}
    for channel, count in zip(
        run.channels.column("channel").to_pylist(), run.channels.column("bytes").to_pylist(), strict=True
    ):
        found[channel] = found.get(channel, 0) + count
    return {channel: count / run.state.rounds for channel, count in found.items()}
