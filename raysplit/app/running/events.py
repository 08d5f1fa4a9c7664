"""What happens to a run as JSON objects, one an event: what ``--json`` prints, and what a job on a cluster writes into
its log for whoever follows it."""

from __future__ import annotations

from typing import Any

from raysplit.app.running.runner import Ended, Job
from raysplit.costs.observed import observed_bytes
from raysplit.population.population import PopulationInfo
from raysplit.simulation.simulation import RoundReport

Event = dict[str, Any]
"""``event`` says which: ``begin``, ``round`` or ``end``."""


def begin_event(job: Job, info: PopulationInfo, layout: dict[str, Any], done: int, seconds: float) -> Event:
    """A run is ready after ``seconds``, laid out as its engine says, with ``done`` rounds behind it."""
    return {
        "event": "begin",
        "run": str(job.folder.path),
        "name": job.scenario.name,
        "scenario": job.scenario.hash,
        "rounds_done": done,
        "of": job.scenario.training.rounds,
        "population": info.name,
        "synthetic": info.synthetic,
        "clients": info.clients,
        "cohort": job.scenario.cohort.size,
        "server_portion": job.scenario.protocol.server,
        "observations_bytes": observed_bytes(job.scenario),
        "ready_s": seconds,
        **layout,
    }


def round_event(report: RoundReport) -> Event:
    form: Event = {
        "event": "round",
        "round": report.round,
        "of": report.rounds,
        "train_loss": report.train_loss,
        "train_accuracy": report.train_accuracy,
        "test_accuracy": None if report.evaluated is None else report.evaluated.accuracy,
        "attack_success": None if report.evaluated is None else report.evaluated.attack_success,
        "attacked": report.attacked,
        "clients_per_s": report.clients / report.seconds,
        "virtual_s": report.virtual_s,
        "diverged": report.diverged,
    }
    if report.privacy is not None:
        form["privacy"] = report.privacy.words
        form["epsilon"] = report.privacy.largest if report.privacy.claimed else None
    return form


def end_event(ended: Ended) -> Event:
    stopped = {} if ended.stopped is None else {"stopped": ended.stopped}
    return {
        "event": "end",
        "run": str(ended.folder.path),
        "status": ended.status,
        "digest": ended.digest,
        "accuracy": ended.accuracy,
        **stopped,
    }
