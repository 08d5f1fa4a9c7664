"""From a scenario to a finished run folder: open the engine, go on from a checkpoint if there is one, mark how it
ended."""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from raysplit.analysis.runs.run import open_run
from raysplit.app.running.engine_choice import Cluster, EngineChoice, check_choice, open_cluster, open_engine
from raysplit.app.running.interruption import undisturbed
from raysplit.engine.engine import Engine
from raysplit.errors import ClusterError, RunError, UserError, first_line
from raysplit.memory.global_state import GlobalState
from raysplit.parts.own_modules import own_files
from raysplit.population.opening import open_population
from raysplit.population.population import PopulationInfo
from raysplit.scenario.choice import chosen
from raysplit.scenario.file import load_scenarios
from raysplit.scenario.layout import Layout
from raysplit.scenario.malicious_check import check_malicious
from raysplit.scenario.network_check import check_network
from raysplit.scenario.population_check import check_population
from raysplit.scenario.scenario import Scenario
from raysplit.scenario.sets import apply_sets
from raysplit.simulation.data_check import check_data
from raysplit.simulation.shard_checks import check_memory, check_shards
from raysplit.simulation.shared_rounds import Form, adopt_tables, leaves_traces, shared_rounds
from raysplit.simulation.simulation import Output, Progress, RoundReport, simulate
from raysplit.storage.checkpoints import (
    is_whole,
    keep_model_only,
    newest_checkpoint,
    read_checkpoint,
    write_checkpoint,
)
from raysplit.storage.lock import locked
from raysplit.storage.observations import adopt_observations, rewind_observations
from raysplit.storage.run_folder import RunFolder, check_free, create, folder_for, not_written, origin_of
from raysplit.storage.stored_scenario import stored_scenario
from raysplit.storage.tables import open_tables, rewind
from raysplit.storage.updates import adopt_updates, rewind_updates
from raysplit.training.failures import ClientFailure

IfExists = Literal["refuse", "replace", "continue"]
"""What to do where the folder holds a run of the scenario already: raise an error; start afresh; or do what is left of
it, which is nothing where it has ended."""


@dataclass(frozen=True)
class Fork:
    """A run with which another one has its first ``rounds`` rounds in common."""

    folder: RunFolder
    rounds: int

    @property
    def checkpoint(self) -> Path:
        return self.folder.checkpoints / f"round-{self.rounds:06d}"


@dataclass(frozen=True)
class Job:
    """One scenario to run: where it came from, where it goes, and the runs before it whose first rounds it shares, the
    longest first. ``module``, ``source``: the scenario file, loaded and on disk; None: the scenario was built in
    Python. ``keep``: rounds after which others fork. ``keep_state``: at the end leave checkpoints that training can go
    on from, not the model alone.
    """

    scenario: Scenario
    module: ModuleType | None
    source: Path | None
    origin: dict[str, Any]
    folder: RunFolder
    forks: tuple[Fork, ...] = ()
    keep: frozenset[int] = frozenset()
    keep_state: bool = False


@dataclass(frozen=True)
class Ended:
    """How a job ended. ``stopped``: a sentence, where its privacy budget ended it before its last round."""

    folder: RunFolder
    status: Literal["finished", "diverged"]
    digest: str
    accuracy: float | None
    stopped: str | None = None


@dataclass(frozen=True)
class Failed:
    """A job that an error stopped: ``why`` in a sentence, and the ``trace`` of whatever is not said by a sentence alone.
    What it has done can be resumed."""

    folder: RunFolder
    why: str
    trace: str = ""


@dataclass
class Watch:
    """What a front end wants to hear."""

    begin: Callable[[Job, PopulationInfo, dict[str, Any], int], None] = lambda job, info, layout, done: None
    round: Callable[[RoundReport], None] = lambda report: None


def jobs_from(
    file: Path,
    out: Path,
    sets: list[str],
    only: list[str] | None = None,
    others: Mapping[Path, Form] | None = None,
    keep_state: bool = False,
) -> list[Job]:
    """The jobs of a scenario file, or of those that ``only`` names or matches; ``sets`` are applied to these alone.

    A scenario forks from one before it with which it has its first rounds in common, or from ``others``: ended runs and
    their scenarios.
    """
    scenarios, module = load_scenarios(file)
    scenarios = chosen(scenarios, only, file)
    changed = [apply_sets(scenario, sets, module) for scenario in scenarios]
    folders = [folder_for(scenario, out) for scenario in changed]
    keep: dict[Path, set[int]] = {folder.path: set() for folder in folders}
    before: dict[Path, Form] = {path: form for path, form in (others or {}).items() if path not in keep}
    traces: dict[Path, bool] = {}
    jobs: list[Job] = []
    for original, scenario, folder in zip(scenarios, changed, folders, strict=True):
        forks = [Fork(RunFolder(p), shared_rounds(scenario, form, traces.get(p))) for p, form in before.items()]
        forks = sorted((fork for fork in forks if _can(fork, folder, keep)), key=lambda fork: -fork.rounds)
        if forks and forks[0].folder.path in keep:
            keep[forks[0].folder.path].add(forks[0].rounds)
        before[folder.path], traces[folder.path] = scenario.to_json(), leaves_traces(scenario)
        origin = {"file": file.name, "scenario": original.name, "set": sets}
        jobs.append(Job(scenario, module, file, origin, folder, tuple(forks)))
    return [replace(job, keep=frozenset(keep[job.folder.path]), keep_state=keep_state) for job in jobs]


def _can(fork: Fork, folder: RunFolder, keep: Mapping[Path, set[int]]) -> bool:
    """Whether the run in ``folder`` can fork there: from a run of the same call, or from another one that has kept that
    round."""
    here = fork.folder.path in keep or is_whole(fork.checkpoint)
    return fork.rounds > 0 and fork.folder != folder and here


def job_of(scenario: Scenario, out: Path, keep_state: bool = False) -> Job:
    """The job of a scenario that was built in Python, for ``raysplit.run``."""
    origin: dict[str, Any] = {"file": None, "scenario": scenario.name, "set": []}
    return Job(scenario, None, None, origin, folder_for(scenario, out), keep_state=keep_state)


def run_all(
    jobs: list[Job],
    choice: EngineChoice,
    following: Callable[[Job], AbstractContextManager[Watch]],
    if_exists: IfExists = "refuse",
) -> Iterator[Ended]:
    """Run jobs one after another on one cluster. What is wrong with any of them is reported before the first one
    starts; the first error ends it."""
    with ready(jobs, choice, if_exists) as cluster:
        for job in jobs:
            with following(job) as watch:
                ended = play(job, choice, cluster, watch, if_exists)
            yield ended


def attempt_all(
    jobs: list[Job], choice: EngineChoice, following: Callable[[Job], AbstractContextManager[Watch]]
) -> Iterator[Ended | Failed]:
    """What is left of an experiment of many runs: ended ones are passed over, unfinished ones resumed, and a job that
    fails is given back as ``Failed`` while the others go on."""
    with ready(jobs, choice, "continue") as cluster:
        for job in jobs:
            with following(job) as watch:
                ended = attempt(job, choice, cluster, watch)
            yield ended


@contextmanager
def ready(jobs: list[Job], choice: EngineChoice, if_exists: IfExists) -> Iterator[Cluster | None]:
    """The cluster for jobs (None: the local engine), after a check of all of them."""
    check_choice(choice)
    portions = []
    for job in jobs:
        start = check_job(job, choice.shards, if_exists)
        portions.append((job.scenario, _portion_bytes(start)))
    with open_cluster(choice, portions) as cluster:
        yield cluster


def check_job(job: Job, shards: int, if_exists: IfExists) -> GlobalState:
    """All that can be known of a job before it trains; its initial state. Raises ``UserError`` where it cannot be done."""
    check_shards(job.scenario, shards)
    population = open_population(job.scenario.population)
    check_population(job.scenario, population.info)
    check_malicious(job.scenario, population)
    if if_exists != "continue":
        check_free(job.folder, job.scenario, if_exists == "replace")
    layout = Layout(job.scenario)
    check_network(job.scenario, layout)
    check_data(job.scenario, layout, population)
    start = layout.initial()
    check_memory(job.scenario, start, shards)
    return start


def attempt(job: Job, choice: EngineChoice, cluster: Cluster | None, watch: Watch) -> Ended | Failed:
    """Do what is left of a job. Raises only where no other job could be done either."""
    try:
        return play(job, choice, cluster, watch, "continue")
    except ClusterError:
        raise
    except ClientFailure as failure:  # brings the traceback of its host along
        return Failed(job.folder, str(failure), failure.trace)
    except UserError as error:
        return Failed(job.folder, str(error))
    except Exception as error:
        return Failed(job.folder, f"{type(error).__name__}: {first_line(error)}", traceback.format_exc())


def ended_before(folder: RunFolder) -> Ended | None:
    """How a run ended that is finished or diverged; None where there is something left to do. Raises ``RunError`` if it
    is damaged."""
    state = folder.state()
    status = state.get("status")
    if status not in ("finished", "diverged"):
        return None
    stopped = state.get("stopped")
    return Ended(folder, status, str(state.get("digest")), state.get("final_accuracy"), stopped)


def run(job: Job, choice: EngineChoice, watch: Watch, if_exists: IfExists = "refuse") -> Ended:
    """Run one job. An error before training starts leaves no new folder behind and an old one as it was."""
    (ended,) = run_all([job], choice, lambda _: nullcontext(watch), if_exists)
    return ended


def play(job: Job, choice: EngineChoice, cluster: Cluster | None, watch: Watch, if_exists: IfExists) -> Ended:
    """One job on a cluster that is ``ready``."""
    if if_exists == "continue" and (ended := ended_before(job.folder)) is not None:
        return ended
    layout = Layout(job.scenario)
    with open_engine(job.scenario, choice, cluster, job.module) as engine:
        go_on = if_exists == "continue" and newest_checkpoint(job.folder.checkpoints) is not None
        if not go_on:
            files = {} if job.module is None else own_files(job.module)
            create(job.folder, job.scenario, files, job.origin, overwrite=if_exists != "refuse")
        with locked(job.folder.path):
            try:
                fork = None if go_on else _fork(job)
                return _go_on(job, engine, watch, layout, _reached(job, layout), fork)
            except BaseException as error:
                if not job.folder.checkpoints.exists() and not job.folder.state():
                    shutil.rmtree(job.folder.path, ignore_errors=True)
                    if isinstance(error, OSError):  # with nothing left to resume
                        raise not_written(job.folder, error) from error
                raise


def resume(path: Path, choice: EngineChoice, watch: Watch, keep_state: bool = False) -> Ended:
    """Go on with an unfinished run from its newest checkpoint, or from the start if it has none."""
    folder = RunFolder(path)
    check_choice(choice)
    if not path.is_dir():
        raise RunError(f"there is no run folder {path}")
    origin = origin_of(folder)
    if folder.state().get("status") in ("finished", "diverged"):
        raise RunError(f"{path} is already {folder.state()['status']}; see it with 'raysplit report {path}'")
    scenario, module = stored_scenario(folder)
    check_shards(scenario, choice.shards)
    job = Job(scenario, module, folder.source, origin, folder, keep_state=keep_state)
    with locked(path):
        layout = Layout(scenario)
        state = _reached(job, layout)
        check_memory(scenario, state, choice.shards)
        with (
            open_cluster(choice, [(scenario, _portion_bytes(state))]) as cluster,
            open_engine(scenario, choice, cluster, module) as engine,
        ):
            return _go_on(job, engine, watch, layout, state)


def _reached(job: Job, layout: Layout) -> GlobalState:
    """Where to go on from: the newest checkpoint, or the start."""
    checkpoint = newest_checkpoint(job.folder.checkpoints)
    return layout.initial() if checkpoint is None else read_checkpoint(checkpoint, layout, job.scenario.hash)


def _portion_bytes(state: GlobalState) -> int:
    return max(state.client.numel(), state.server.numel()) * state.client.element_size()


def _go_on(
    job: Job, engine: Engine, watch: Watch, layout: Layout, state: GlobalState, fork: Fork | None = None
) -> Ended:
    scenario, folder = job.scenario, job.folder
    if folder.metrics.exists():
        rewind(folder.metrics, state.round)
    rewind_updates(folder.updates, state.round)
    rewind_observations(folder.observations, state.round)
    population = open_population(scenario.population)
    progress = Progress(state)
    with open_tables(folder.metrics) as tables:
        about = engine.describe()
        watch.begin(job, population.info, about, state.round)
        facts = _facts(job, about, population.info, fork)
        try:
            folder.mark("running", rounds=state.round, **facts)
            finish = simulate(
                scenario, population, engine, Output(tables, folder.checkpoints, job.keep), progress, watch.round
            )
        except BaseException as error:
            with undisturbed():
                _interrupted(job, layout, progress, facts, error)
            raise
    status: Literal["finished", "diverged"] = "diverged" if finish.diverged else "finished"
    digest = layout.digest(finish.state)
    accuracy = open_run(folder.path).summary().final
    if finish.stopped is not None:
        facts["stopped"] = finish.stopped
    folder.mark(status, rounds=finish.state.round, digest=digest, final_accuracy=accuracy, **facts)
    if not job.keep_state:
        keep_model_only(folder.checkpoints, job.keep)
    return Ended(folder, status, digest, accuracy, finish.stopped)


def _interrupted(job: Job, layout: Layout, progress: Progress, facts: dict[str, Any], error: BaseException) -> None:
    """Leave a resumable run behind: checkpoint the last complete round before passing the error on."""
    newest = newest_checkpoint(job.folder.checkpoints)
    written = 0 if newest is None else int(newest.name.rsplit("-", 1)[1])
    stop = isinstance(error, KeyboardInterrupt)  # Ray raises one of its own, so which signal it was may be unknown here
    why = "Ctrl-C or a signal" if stop else f"{type(error).__name__}: {error}".splitlines()[0]
    try:
        if progress.state.round > written:
            write_checkpoint(job.folder.checkpoints, progress.state, layout, job.scenario.hash, job.keep)
        job.folder.mark("interrupted", rounds=progress.state.round, why=why, **facts)
    except (RunError, OSError):
        return  # the disk that failed the run fails this too; the checkpoint before it is kept


def _fork(job: Job) -> Fork | None:
    """Take over the longest opening that a run before it has kept: its checkpoint and its tables up to there. None:
    train from the start."""
    fork = next((fork for fork in job.forks if is_whole(fork.checkpoint)), None)
    if fork is None:
        return None
    layout = Layout(job.scenario)
    state = read_checkpoint(fork.checkpoint, layout, origin_of(fork.folder)["hash"])
    population = open_population(job.scenario.population)
    adopt_tables(fork.folder.metrics, job.folder.metrics, fork.rounds, job.scenario, population)
    adopt_updates(fork.folder.updates, job.folder.updates, fork.rounds)
    adopt_observations(fork.folder.observations, job.folder.observations, fork.rounds)
    write_checkpoint(job.folder.checkpoints, state, layout, job.scenario.hash, job.keep)
    return fork


def _facts(job: Job, engine: dict[str, Any], info: PopulationInfo, fork: Fork | None) -> dict[str, Any]:
    """What run.json says in every status: where the run is played and on what, the threat model, and which run it took
    its first rounds from."""
    facts: dict[str, Any] = {"engine": engine, "population": _about(info), "of": job.scenario.training.rounds}
    if job.scenario.attack is not None:
        model = job.scenario.attack.threat_model
        facts["threat_model"] = {
            "sees": sorted(channel.value for channel in model.sees),
            "changes": sorted(channel.value for channel in model.changes),
            "knowledge": model.knowledge,
            "own_data": model.own_data,
            "party": model.party,
        }
    before = job.folder.state()
    facts |= {name: before[name] for name in ("forked_from", "forked_rounds") if name in before}
    if fork is not None:
        facts |= {"forked_from": fork.folder.path.name, "forked_rounds": fork.rounds}
    return facts


def _about(info: PopulationInfo) -> dict[str, Any]:
    return {
        "name": info.name,
        "clients": info.clients,
        "synthetic": info.synthetic,
        "digest": info.digest,
        "description": info.description,
    }
