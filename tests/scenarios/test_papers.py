"""The papers' scenario files run end to end on real data, on a few samples and for a round or two."""

from pathlib import Path

import pytest

from raysplit.metrics.run import open_run
from raysplit.population.subset import Subset, subset
from raysplit.runner import EngineChoice, Job, Watch, jobs_from, run
from raysplit.scenario import with_changes

FILES = Path(__file__).resolve().parents[2] / "scenarios"
LOCAL = EngineChoice(engine="local")
SETS = {"ham": "ham10000-64", "clients": "ham10000-64", "fmnist": "fashion_mnist", "mnist": "mnist", "cifar": "cifar10"}
SETS |= {f"small-{name}": file for name, file in SETS.items()}
SETS |= {
    "small-ham": "ham10000-32",
    "small-clients": "fashion_mnist",
    "small-slperf": "cifar10",
    "slperf-cifar10": "cifar10",
    "slperf-mutag": "MUTAG",
    "slperf-imdb": "IMDB-BINARY",
    "slperf-proteins": "PROTEINS_full",
}


def small(job: Job, train: int, test: int) -> Job:
    """The job on a part of its pool, two rounds, four clients at most."""
    scenario = job.scenario
    clients = min(4, scenario.cohort.size)
    pool = scenario.population.pool
    changes = {
        "population.pool": subset(pool.pool if isinstance(pool, Subset) else pool, train, test),
        "population.clients": clients,
        "cohort.size": clients,
        "training.rounds": 2,
    }
    return Job(with_changes(scenario, changes), job.module, job.source, job.origin, job.folder)


def needed(name: str) -> str:
    """The data set of a scenario."""
    return SETS[max((prefix for prefix in SETS if name.startswith(prefix)), key=len)]


def cases() -> list[pytest.param]:
    files = [f"thapa2022/{name}.py" for name in ("table5", "table5_small", "clients", "clients_small")]
    files += [f"slperf/{name}.py" for name in ("cifar10", "cifar10_small", "graphs")]
    jobs = [(file, job.scenario.name) for file in files for job in jobs_from(FILES / file, Path("runs"), [])]
    return [pytest.param(file, name, id=name) for file, name in jobs if affordable(name)]


def affordable(name: str) -> bool:
    """All but what small() makes alike, 10 to 100 clients and reduced files, and AlexNet's 57 million parameters under every protocol."""
    if "clients" in name:
        return "005" in name
    if name.startswith("small-"):  # their networks and protocols are those of the files that they make smaller
        return name.endswith(("-fl", "-dirichlet-splitfed"))
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
