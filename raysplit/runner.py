"""From a scenario to a finished run folder: open the engine, go on from a checkpoint if there is one, mark how it ended."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from raysplit.attacks.data.carried_out import measured
from raysplit.attacks.data.neurotoxin import needs_last_move
from raysplit.engine.checkpoints import newest_checkpoint, read_checkpoint
from raysplit.engine.engine import Engine
from raysplit.engine.placement import Resources, Wanted, lay_out
from raysplit.errors import ClusterError, RunError, ScenarioError, nearest
from raysplit.metrics.run import open_run
from raysplit.metrics.tables import open_tables, rewind
from raysplit.metrics.updates import adopt_updates, rewind_updates
from raysplit.population.population import PopulationInfo
from raysplit.run_folder import RunFolder, check_free, create, folder_for, locked, origin_of
from raysplit.scenario import Scenario
from raysplit.scenario_file import apply_sets, load_scenarios
from raysplit.sharding.checks import check_shards
from raysplit.simulation import Progress, RoundReport, check_population, simulate
from raysplit.state import GlobalState, Layout

if TYPE_CHECKING:
    from raysplit.engine.crew import Crew


@dataclass(frozen=True)
class EngineChoice:
    """Where to run; the defaults are what the command line's are. None of it can change a result."""

    engine: Literal["local", "ray"] = "ray"
    hosts: int | None = None
    servers: int | None = None
    placement: Literal["auto", "pooled", "colocated"] = "auto"
    gpus_per_host: float | None = None
    address: str | None = None
    shards: int = 1


@dataclass(frozen=True)
class Job:
    """One scenario to run: where it came from, where it goes, and the clean run whose first rounds it shares, if any."""

    scenario: Scenario
    module: ModuleType
    source: Path
    origin: dict[str, Any]
    folder: RunFolder
    fork: RunFolder | None = None
    keep: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Ended:
    """How a job ended."""

    folder: RunFolder
    status: Literal["finished", "diverged"]
    digest: str
    accuracy: float | None


@dataclass
class Watch:
    """What a front end wants to hear."""

    begin: Callable[[Job, PopulationInfo, dict[str, Any], int], None] = lambda job, info, layout, done: None
    round: Callable[[RoundReport], None] = lambda report: None


def jobs_from(file: Path, out: Path, sets: list[str], only: list[str] | None = None) -> list[Job]:
    """The jobs of a scenario file, or of those named in ``only``; ``sets`` are applied to these alone.

    An attacked scenario whose clean twin stands before it forks from that one's rounds.
    """
    scenarios, module = load_scenarios(file)
    names = [scenario.name for scenario in scenarios]
    for name in only or []:
        if name not in names:
            raise ScenarioError(f"{file} has no scenario {name!r}; {nearest(name, names)}")
    scenarios = [scenario for scenario in scenarios if not only or scenario.name in only]
    changed = [apply_sets(scenario, sets) for scenario in scenarios]
    jobs: list[Job] = []
    for original, scenario in zip(scenarios, changed, strict=True):
        twin = next((job for job in jobs if shares_prefix(job.scenario, scenario)), None)
        origin = {"file": file.name, "scenario": original.name, "set": sets}
        jobs.append(Job(scenario, module, file, origin, folder_for(scenario, out), twin.folder if twin else None))
    forks = {job.fork.path: set() for job in jobs if job.fork}  # type: ignore[var-annotated]
    for job in jobs:
        if job.fork and job.scenario.attack:
            forks[job.fork.path].add(job.scenario.attack.start_round - 1)
    return [
        Job(j.scenario, j.module, j.source, j.origin, j.folder, j.fork, frozenset(forks.get(j.folder.path, ())))
        for j in jobs
    ]


def shares_prefix(clean: Scenario, attacked: Scenario) -> bool:
    """Whether ``attacked`` is ``clean`` until its attack starts, so that those rounds need no second training."""
    if clean.attack is not None or attacked.attack is None or attacked.attack.start_round <= 1:
        return False
    if needs_last_move(attacked.attack) or (measured(attacked.attack) and attacked.evaluation.success_of is None):
        return False  # it keeps something of those rounds that a clean run does not
    forms = [{k: v for k, v in s.to_json().items() if k not in ("name", "attack")} for s in (clean, attacked)]
    return forms[0] == forms[1]


def run_all(
    jobs: list[Job],
    choice: EngineChoice,
    following: Callable[[Job], AbstractContextManager[Watch]],
    overwrite: bool = False,
) -> Iterator[Ended]:
    """Run jobs one after another on one cluster. What is wrong with any of them is said before the first one starts."""
    check_choice(choice)
    portions = []
    for job in jobs:
        check_shards(job.scenario, choice.shards)
        check_population(job.scenario, job.scenario.population.open().info)
        check_free(job.folder, job.scenario, overwrite)
        portions.append((job.scenario, _portion_bytes(Layout(job.scenario).initial())))
    with open_cluster(choice, portions) as cluster:
        for job in jobs:
            with following(job) as watch:
                ended = _run(job, choice, cluster, watch, overwrite)
            yield ended


def run(job: Job, choice: EngineChoice, watch: Watch, overwrite: bool = False) -> Ended:
    """Run a job in a fresh folder. An error before training starts leaves no new folder behind and an old one as it was."""
    (ended,) = run_all([job], choice, lambda _: nullcontext(watch), overwrite)
    return ended


def _run(job: Job, choice: EngineChoice, cluster: Cluster | None, watch: Watch, overwrite: bool) -> Ended:
    layout = Layout(job.scenario)
    with open_engine(job.scenario, choice, cluster, job.module) as engine:
        create(job.folder, job.scenario, job.source, job.origin, overwrite)
        with locked(job.folder):
            try:
                if job.fork is not None and not _fork(job, job.fork):
                    job = replace(job, fork=None)
                return _go_on(job, engine, watch, layout, _reached(job, layout))
            except BaseException:
                if not job.folder.checkpoints.exists() and not job.folder.state():
                    shutil.rmtree(job.folder.path, ignore_errors=True)
                raise


def resume(path: Path, choice: EngineChoice, watch: Watch) -> Ended:
    """Go on with an unfinished run from its newest checkpoint, or from the start if it has none."""
    folder = RunFolder(path)
    check_choice(choice)
    if not path.is_dir():
        raise RunError(f"there is no run folder {path}")
    origin = origin_of(folder)
    if folder.state().get("status") in ("finished", "diverged"):
        raise RunError(f"{path} is already {folder.state()['status']}; see it with 'raysplit report {path}'")
    scenarios, module = load_scenarios(folder.source)
    original = next((s for s in scenarios if s.name == origin.get("scenario")), None)
    if original is None:
        raise RunError(
            f"{folder.source} no longer defines the scenario {origin.get('scenario')!r} of this run; restore the file"
        )
    scenario = apply_sets(original, list(origin.get("set", [])))
    if scenario.hash != origin["hash"]:
        raise RunError(
            f"{folder.source} now gives scenario {scenario.hash}, but this run began as {origin['hash']}; restore the file or run it anew"
        )
    check_shards(scenario, choice.shards)
    job = Job(scenario, module, folder.source, origin, folder)
    with locked(folder):
        layout = Layout(scenario)
        state = _reached(job, layout)
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


def _go_on(job: Job, engine: Engine, watch: Watch, layout: Layout, state: GlobalState) -> Ended:
    scenario, folder = job.scenario, job.folder
    if folder.metrics.exists():
        rewind(folder.metrics, state.round)
    rewind_updates(folder.updates, state.round)
    population = scenario.population.open()
    progress = Progress(state)
    with open_tables(folder.metrics) as tables:
        about = engine.describe()
        watch.begin(job, population.info, about, state.round)
        facts: dict[str, Any] = {"engine": about, "population": _facts(population.info), "of": scenario.training.rounds}
        if scenario.attack is not None:
            model = scenario.attack.threat_model
            facts["threat_model"] = {
                "sees": sorted(channel.value for channel in model.sees),
                "changes": sorted(channel.value for channel in model.changes),
                "knowledge": model.knowledge,
                "own_data": model.own_data,
                "party": model.party,
            }
        forked = folder.state().get("forked_from") if job.fork is None else job.fork.path.name
        if forked is not None:
            facts["forked_from"] = forked
        folder.mark("running", rounds=state.round, **facts)
        try:
            finish = simulate(
                scenario, population, engine, layout, progress, tables, folder.checkpoints, watch.round, job.keep
            )
        except BaseException as error:
            _interrupted(job, layout, progress, facts, error)
            raise
    status: Literal["finished", "diverged"] = "diverged" if finish.diverged else "finished"
    digest = layout.digest(finish.state)
    accuracy = open_run(folder.path).summary().final
    folder.mark(status, rounds=finish.state.round, digest=digest, final_accuracy=accuracy, **facts)
    return Ended(folder, status, digest, accuracy)


def _interrupted(job: Job, layout: Layout, progress: Progress, facts: dict[str, Any], error: BaseException) -> None:
    """Leave a resumable run behind: checkpoint the last complete round before passing the error on."""
    from raysplit.engine.checkpoints import write_checkpoint

    newest = newest_checkpoint(job.folder.checkpoints)
    written = 0 if newest is None else int(newest.name.rsplit("-", 1)[1])
    why = "Ctrl-C" if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__}: {error}".splitlines()[0]
    try:
        if progress.state.round > written:
            write_checkpoint(job.folder.checkpoints, progress.state, layout, job.scenario.hash, job.keep)
        job.folder.mark("interrupted", rounds=progress.state.round, why=why, **facts)
    except (RunError, OSError):
        return  # the disk that failed the run fails this too; the checkpoint before stands


def _fork(job: Job, clean: RunFolder) -> bool:
    """Take over the clean twin's rounds before the attack: its checkpoint and its tables up to there. False if it has none."""
    assert job.scenario.attack is not None
    round = job.scenario.attack.start_round - 1
    source = clean.checkpoints / f"round-{round:06d}"
    if not source.exists():
        return False  # the twin was not run in this call with this round kept: train from the start, same bits
    layout = Layout(job.scenario)
    twin_hash = origin_of(clean)["hash"]
    state = read_checkpoint(source, layout, twin_hash)
    from raysplit.engine.checkpoints import write_checkpoint

    shutil.copytree(clean.metrics, job.folder.metrics)
    rewind(job.folder.metrics, round)
    adopt_updates(clean.updates, job.folder.updates, round)
    write_checkpoint(job.folder.checkpoints, state, layout, job.scenario.hash)
    return True


def check_choice(choice: EngineChoice) -> None:
    """Raise for what no cluster can give, before anything is started or written."""
    given = (choice.hosts, choice.servers, choice.address, choice.gpus_per_host)
    if choice.engine == "local" and any(value is not None for value in given):
        raise ScenarioError(
            "--hosts, --servers, --address and --gpus-per-host belong to --engine ray; leave them out with --engine local"
        )
    for option, count in (("--hosts", choice.hosts), ("--servers", choice.servers)):
        if count is not None and count < 1:
            raise ClusterError(f"{option} must be at least 1, but it is {count}")
    if choice.gpus_per_host is not None and not 0 <= choice.gpus_per_host < float("inf"):
        raise ClusterError(
            f"--gpus-per-host must be 0 or a share of a GPU such as 0.25, but it is {choice.gpus_per_host:g}"
        )
    if choice.address is not None:
        check_address(choice.address)


def check_address(address: str) -> None:
    """Raise ``ClusterError`` where nobody listens at ``HOST:PORT``; Ray itself would try for minutes, noisily."""
    if address in ("auto", "local"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise ClusterError(f"--address {address!r} is not of the form HOST:PORT, such as 10.0.0.1:6379, nor 'auto'")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except OSError as error:
        raise ClusterError(
            f"no Ray cluster at {address!r} ({error.strerror or error}); start one with 'ray start --head' or leave --address out"
        ) from error


class Cluster(NamedTuple):
    """A connected Ray cluster, and its actors that wait for the next scenario."""

    resources: Resources
    crew: Crew


@contextmanager
def open_cluster(choice: EngineChoice, portions: list[tuple[Scenario, int]]) -> Iterator[Cluster | None]:
    """The Ray cluster for scenarios and the bytes of their larger portions; None for the local engine. Ray is imported only if it is used."""
    if choice.engine == "local":
        yield None
        return
    from raysplit.engine.cluster import connect, object_store_bytes
    from raysplit.engine.crew import Crew

    store = max(object_store_bytes(scenario, portion, choice.shards) for scenario, portion in portions)
    cpus = None if choice.hosts is None else choice.hosts + (choice.servers or 1)
    with connect(choice.address, store, cpus) as resources, Crew() as crew:
        yield Cluster(resources, crew)


@contextmanager
def open_engine(
    scenario: Scenario, choice: EngineChoice, cluster: Cluster | None, module: ModuleType | None
) -> Iterator[Engine]:
    """The engine that was chosen, closed at the end."""
    if cluster is None:
        from raysplit.engine.local import LocalEngine

        with LocalEngine(scenario, shards=choice.shards) as local:
            yield local
        return
    from raysplit.engine.cluster import by_value
    from raysplit.engine.ray_engine import RayEngine

    wanted = Wanted(choice.hosts, choice.servers, choice.placement, choice.gpus_per_host, choice.shards)
    if module is not None:
        by_value(module)
    with RayEngine(scenario, lay_out(scenario, cluster.resources, wanted), cluster.crew) as engine:
        yield engine


def _facts(info: PopulationInfo) -> dict[str, Any]:
    return {
        "name": info.name,
        "clients": info.clients,
        "synthetic": info.synthetic,
        "digest": info.digest,
        "description": info.description,
    }
