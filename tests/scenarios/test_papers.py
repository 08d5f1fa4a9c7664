"""The papers' scenario files run end to end on real data, on a few samples and for a round or two."""

import re
from pathlib import Path

import pyarrow as pa
import pytest

from raysplit.analysis.runs.run import open_run
from raysplit.app.running.engine_choice import EngineChoice
from raysplit.app.running.runner import Job, Watch, jobs_from, run
from raysplit.app.sweep.command import sweep
from raysplit.population.partition.subset import Subset, subset
from raysplit.scenario.changes import with_changes

FILES = Path(__file__).resolve().parents[2] / "scenarios"
LOCAL = EngineChoice(engine="local")
SETS = {"ham": "ham10000-64", "clients": "ham10000-64", "fmnist": "fashion_mnist", "mnist": "mnist", "cifar": "cifar10"}
SETS |= {"privacy": "mnist"}
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
    files = [f"thapa2022/{name}.py" for name in ("table5", "table5_small", "clients", "clients_small", "privacy")]
    files += [f"slperf/{name}.py" for name in ("cifar10", "cifar10_small", "graphs")]
    jobs = [(file, job.scenario.name) for file in files for job in jobs_from(FILES / file, Path("runs"), [])]
    return [pytest.param(file, name, id=name) for file, name in jobs if affordable(name)]


def affordable(name: str) -> bool:
    """All but what small() makes alike, 10 to 100 clients and reduced files, and AlexNet's 57 million parameters under
    every protocol."""
    if "clients" in name:
        return "005" in name
    if name.startswith("privacy-"):
        return name in ("privacy-small-eps8", "privacy-small-pixeldp0.5", "privacy-small-certified")
    if name.startswith("small-"):  # their networks and protocols are those of the files that they make smaller
        return name.endswith(("-fl", "-dirichlet-splitfed"))
    return "alexnet" not in name or name in ("ham-alexnet-sflv1", "mnist-alexnet-sl")


def test_figure_5_has_the_papers_rows_at_both_sizes():
    """ε′ of 0.5, 1, 2, 5 and none over the same DP-SGD, with the noise after the first convolution."""
    rows = {job.scenario.name: job.scenario for job in jobs_from(FILES / "thapa2022/privacy.py", Path("runs"), [])}
    for size, rounds in (("alexnet", 50), ("small", 10)):
        none = rows[f"privacy-{size}-eq3"]
        assert (none.privacy.noise_multiplier, none.privacy.form, none.training.local_epochs) == (1.3, "thapa2022", 5)
        assert none.training.rounds == rounds and none.cohort.size == 5
        for epsilon in (0.5, 1, 2, 5):
            row = rows[f"privacy-{size}-pixeldp{epsilon:g}"]
            assert row.model.epsilon == epsilon and row.replace(model=row.model.model, name=none.name) == none
            first = dict(row.model.stages())["conv1"]
            names = [type(layer).__name__ for layer in first]
            assert names.index("NoiseLayer") == names.index("Conv2d") + 1 and names.count("Conv2d") == 1


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


@pytest.mark.slow
@pytest.mark.parametrize("file", ["table_212", "figure4_212"])
def test_khans_sweeps_run_on_real_writers(tmp_path, monkeypatch, real_femnist, file):
    """Every rule and attack cut at V2, every rule and share in FL: ten writers, a shared round, a round under attack,
    one page."""
    monkeypatch.setenv("RAYSPLIT_DATA", str(Path(real_femnist.path).parent))
    text = (FILES / "khan2022" / f"{file}.py").read_text()
    text, found = re.subn(r"(?m)^CLEAN_ROUNDS = .*$", 'CLEAN_ROUNDS = {"V2": 1, "V3": 1, "FL": 1}', text)
    small_text, again = re.subn(r"(?m)^ATTACKED_ROUNDS = .*$", "ATTACKED_ROUNDS = 1", text)
    assert found == again == 1
    small_text = small_text.replace("PERCENT = (0, 5, 10,", "PERCENT = (0, 10,")  # 5 % of ten writers is nobody
    (tmp_path / "small.py").write_text(small_text)
    sets = ["cohort.size=10", "evaluation.clients=3"]
    names = [job.scenario.name for job in jobs_from(tmp_path / "small.py", tmp_path, sets)]
    some = [
        name
        for name in names
        if "-V2-" in name or ("-FL-" in name and name.endswith(("clean", "tailored", "attacked")))
    ]
    assert sweep(tmp_path / "small.py", tmp_path / "runs", sets, some, LOCAL, 1) == 0
    [folder] = (tmp_path / "runs").glob("sweep-small*")
    with pa.ipc.open_file(folder / "results.arrow") as results:
        rows = results.read_all().to_pylist()
    assert [row["scenario"] for row in rows] == some and {row["status"] for row in rows} == {"finished"}
    assert sum(row["shared_rounds"] is None for row in rows) == 2  # one beginning a split
    assert all(row["drop_final"] is not None for row in rows if row["attack"])
    page = (folder / "report.html").read_text()
    assert "Synthetic" not in page and ("FL (FedAvg)" in page or "By share" in page)
