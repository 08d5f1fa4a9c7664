"""``raysplit.run``: from a scenario that was built in a script or a notebook to its run."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from raysplit.analysis.runs.run import Run, open_run
from raysplit.app.running.engine_choice import EngineChoice
from raysplit.app.running.runner import Watch, job_of
from raysplit.app.running.runner import run as run_job
from raysplit.errors import ScenarioError
from raysplit.scenario.scenario import Scenario
from raysplit.simulation.simulation import RoundReport


def run(
    scenario: Scenario,
    *,
    engine: Literal["local", "ray"] = "local",
    out: str | os.PathLike[str] = "runs",
    on_round: Callable[[RoundReport], None] | None = None,
    overwrite: bool = False,
    hosts: int | None = None,
    servers: int | None = None,
    placement: Literal["auto", "pooled", "colocated"] = "auto",
    gpus_per_host: float | None = None,
    address: str | None = None,
    shards: int = 1,
    deadline: float | None = None,
    keep_state: bool = False,
) -> Run:
    """Train a scenario and return its run, in the folder ``out/<name>-<hash>``.

    What is there of the same scenario already is not trained again: an unfinished run goes on from its newest
    checkpoint, an ended one is returned as it is; ``overwrite`` starts afresh. Ctrl-C (in Jupyter: interrupt) leaves a
    run with which the next call goes on. ``on_round``: called after every round with what happened in it.

    ``engine="local"`` plays everything in this process, ``"ray"`` on Ray actors, laid out as ``hosts``, ``servers``,
    ``placement`` and ``gpus_per_host`` say, on the cluster at ``address`` or one that is started and shut down again;
    ``shards``: column shards that aggregate the updates; ``deadline``: seconds within which a call on Ray must end or
    get on, None: as measured on earlier ones. ``keep_state``: leave optimiser states and the like in the
    folder of the finished run, too, not the model alone. None of these changes a bit of the result. ``raysplit run``
    does the same from the command line for scenarios in a file.

    Raises ``UserError`` for what cannot be run, before anything is written.
    """
    if not isinstance(scenario, Scenario):
        raise ScenarioError(
            f"raysplit.run takes one Scenario, but was given {type(scenario).__name__}; call it for each scenario"
        )
    scenario = replace(scenario)  # its hash is taken anew: own code may have changed since it was last taken
    choice = EngineChoice(engine, hosts, servers, placement, gpus_per_host, address, shards, deadline)
    watch = Watch() if on_round is None else Watch(round=on_round)
    ended = run_job(job_of(scenario, Path(out), keep_state), choice, watch, "replace" if overwrite else "continue")
    return replace(open_run(ended.folder.path), played=scenario)
