"""The papers' scenario files run end to end on real data, on a few samples and for a round or two."""

from pathlib import Path

import pytest

from raysplit.metrics.run import open_run
from raysplit.population.subset import subset
from raysplit.engine_choice import EngineChoice
from raysplit.runner import Job, Watch, jobs_from, run
from raysplit.scenario import with_changes

FILES = Path(__file__).resolve().parents[2] / "scenarios"
LOCAL = EngineChoice(engine="local")
SETS = {"ham": "ham10000-64", "clients": "ham10000-64", "fmnist": "fashion_mnist", "mnist": "mnist", "cifar": "cifar10"}
SETS |= {
    "slperf-cifar10": "cifar10",
    "slperf-mutag": "MUTAG",
    "slperf-imdb": "IMDB-BINARY",
    "slperf-proteins": "PROTEINS_full",
}


def small(job: Job, train: int, test: int) -> Job:
    """The job on a part of its pool, two rounds, four clients at most."""
    scenario = job.scenario
    clients = min(4, scenario.cohort.size)
    changes = {
        "population.pool": subset(scenario.population.pool, train, test),
        "population.clients": clients,
        "cohort.size": clients,
        "training.rounds": 2,
    }
    return Job(with_changes(scenario, changes), job.module, job.source, job.origin, job.folder)


def needed(name: str) -> str:
    """The data set of a scenario."""
    return SETS[max((prefix for prefix in SETS if name.startswith(prefix)), key=len)]


def cases() -> list[pytest.param]:
    files = ["thapa2022/table5.py", "thapa2022/clients.py", "slperf/cifar10.py", "slperf/graphs.py"]
    jobs = [(file, job.scenario.name) for file in files for job in jobs_from(FILES / file, Path("runs"), [])]
    return [pytest.param(file, name, id=name) for file, name in jobs if affordable(name)]


def affordable(name: str) -> bool:
    """All but the 10 to 100 clients, of which small() makes four anyway, and AlexNet's 57 million parameters under every protocol."""
    if name.startswith("clients"):
        return "005" in name
    return "alexnet" not in name or name in ("ham-alexnet-sflv1", "mnist-alexnet-sl")


@pytest.mark.slow
@pytest.mark.parametrize(("file", "name"), cases())
def test_a_papers_scenario_runs_on_real_data(tmp_path, monkeypatch, prepared_sets, file, name):
    monkeypatch.setenv("RAYSPLIT_DATA", str(prepared_sets))
    if not (prepared_sets / f"{needed(name)}.arrow").exists():
        pytest.skip(f"needs real data: {needed(name)} is not in RAYSPLIT_TEST_DATA")
    [job] = jobs_from(FILES / file, tmp_path, [], [name])
    ended = run(small(job, 48, 16), LOCAL, Watch())
    opened = open_run(ended.folder.path)
    assert ended.status == "finished" and opened.rounds.num_rows == 2
    assert opened.evaluations["samples"].to_pylist()[-1] == 16
    assert not opened.state.record["population"]["synthetic"]
