"""``raysplit submit`` to a real cluster of three nodes, with Ray's token, and everything that may die on the way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import raysplit
from raysplit import open_run
from raysplit.app.cli import main
from raysplit.app.running.live import Live
from raysplit.app.submission.landing import Landing

pytest.importorskip("aiohttp", reason="needs ray[default]")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TREE = str(Path(raysplit.__file__).parents[1])
RULE = """\
import os
import time

from raysplit import part
from raysplit.contracts import Aggregate, AggregationRule


@part
class Unhurried(AggregationRule):
    def aggregate(self, updates, weights, context):
        # A log comes some seconds late: the later rounds leave time to kill something in their midst.
        time.sleep(float(os.environ.get("UNHURRIED", "0.1" if context.round < 8 else "1")))
        return Aggregate(weights @ updates)
"""
FILE = """\
from raysplit import *
from rules import Unhurried

scenario = Scenario(
    name="kept",
    population=synthetic_writers(writers=8, mean_samples=6, sd_samples=1),
    model=femnist_cnn(cut="V2"),
    protocol=SplitFedV2(),
    cohort=Cohort(size=3),
    training=Training(rounds=14, lr=0.05),
    defense=Unhurried(),
    evaluation=Evaluation(clients=2, every=14),
    checkpoint_every=2,
)
"""


class Cluster(NamedTuple):
    address: str
    process: subprocess.Popen[str]
    store: Path
    token: Path

    def kill_a_worker_node(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write("kill\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "killed\n"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    here = tmp_path_factory.mktemp("cluster")
    (here / "token").write_text("0123456789abcdef" * 4)
    (here / "token").chmod(0o644)
    short = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / f"rs{os.getpid()}"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PYTHONPATH"))},
        **{"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(here / "token"), "OMP_NUM_THREADS": "1"},
    }
    command = [sys.executable, "-m", "tests.app.submission.three_nodes", str(short)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with (
        open(here / "errors", "w") as errors,
        subprocess.Popen(command, env=environment, cwd=TREE, stderr=errors, **pipes) as nodes,
    ):
        assert nodes.stdout is not None
        address = nodes.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:"), (here / "errors").read_text()
        yield Cluster(address, nodes, here / "store", here / "token")
    for folder in short.parent.glob(f"{short.name}*"):
        shutil.rmtree(folder)
    left = processes_with(str(short))
    assert not left, f"processes of the cluster that are left: {left}"


@pytest.fixture
def here(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a scenario file and a module of its own, on a machine that has the token."""
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(cluster.token))
    monkeypatch.setenv("RAYSPLIT_ADDRESS", cluster.address)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kept.py").write_text(FILE)
    (tmp_path / "rules.py").write_text(RULE)
    return tmp_path


def processes_with(*words: str) -> list[int]:
    """Processes whose command lines hold all of some words."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            said = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if all(word in said for word in words) and int(process.name) != os.getpid():
            found.append(int(process.name))
    return found


def command(*arguments: str) -> None:
    """A command in this process. Raises ``SystemExit`` where it does not end well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["raysplit", *arguments])
        main()


Until = Callable[[dict[str, Any]], bool]


def killed_at(until: Until, *arguments: str) -> list[dict[str, Any]]:
    """The events that a command in a process of its own prints, up to the one at which it is killed."""
    line = [sys.executable, "-m", "raysplit.app.cli", *arguments, "--json"]
    environment = {**os.environ, "PYTHONPATH": TREE, "OMP_NUM_THREADS": "1"}
    events: list[dict[str, Any]] = []
    with subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while not events or not until(events[-1]):
            events.append(json.loads(process.stdout.readline()))
        process.kill()
    return events


def told(*arguments: str, until: Until = lambda event: False) -> list[dict[str, Any]]:
    """The events that a command in this process prints; at the first that ``until`` names somebody presses Ctrl-C."""
    events: list[dict[str, Any]] = []

    def take(live: Live, event: dict[str, Any]) -> None:
        events.append(event)
        if until(event):
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Live, "print_json", take)
        try:
            command(*arguments, "--json")
        except SystemExit as left:
            assert left.code == 130 and until(events[-1]), events
    return events


def digest_here(monkeypatch: pytest.MonkeyPatch, *options: str) -> str:
    """The digest of the same run on the local engine, without its pauses, which no bit depends on."""
    with monkeypatch.context() as patch:
        patch.setenv("UNHURRIED", "0")
        command("run", "kept.py", "--engine", "local", "--out", "local", *options)
    [run] = Path("local").glob("kept-*")
    return open_run(run).state.digest


def at_round(number: int) -> Until:
    return lambda event: event["event"] == "round" and event["round"] >= number


def test_a_job_outlives_its_client_its_driver_and_a_node_and_comes_back_with_the_local_digest(
    cluster: Cluster, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    submit = ("submit", "kept.py", "--hosts", "2", "--placement", "colocated", "--store", str(cluster.store))
    before = killed_at(at_round(2), *submit)
    assert cluster.token.stat().st_mode & 0o777 == 0o600
    job = before[0]["job"]
    assert [event["event"] for event in before[:4]] == ["submitted", "cluster", "begin", "round"]

    seen = told("attach", job, until=at_round(5))
    assert [event["round"] for event in seen if event["event"] == "round"][:5] == [1, 2, 3, 4, 5], "from the first on"
    [driver] = processes_with("raysplit.app.submission.driver")
    os.kill(driver, signal.SIGKILL)
    seen = told("attach", job, until=lambda event: event["event"] == "begin" and event["rounds_done"] > 0)
    [restart] = [event for event in seen if event["event"] == "restart"]
    assert restart["killed"] == "SIGKILL" and seen[-1]["rounds_done"] >= 4
    cluster.kill_a_worker_node()

    [end] = [event for event in told("attach", job) if event["event"] == "end"]
    command("fetch", job)
    [run] = Path("runs").glob("kept-*")
    digest = digest_here(monkeypatch)
    assert end["digest"] == digest
    fetched = open_run(run)
    assert sum(fetched.rounds.column("retries").to_pylist()) > 0, "the node took an actor along"
    assert fetched.state.digest == digest and fetched.rounds.column("round").to_pylist() == list(range(1, 15))
    assert (run / "modules" / "rules.py").read_text() == RULE and list(Path("runs").glob("report-kept*.html"))
    assert cluster.store / job / "runs" / run.name == Path(end["run"])


def test_a_cancelled_job_goes_on_when_it_is_submitted_again_and_a_broken_fetch_where_it_broke(
    cluster: Cluster, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    submit = (
        "submit",
        "kept.py",
        "--hosts",
        "1",
        "--placement",
        "colocated",
        "--store",
        str(cluster.store),
        "--set",
        "seed=7",
    )
    job = told(*submit, until=at_round(3))[0]["job"]
    with pytest.raises(SystemExit):
        command(*submit)
    assert f"job {job} is under way" in capsys.readouterr().err
    command("cancel", job)
    said = capsys.readouterr().out
    assert f"{job} is cancelled at round" in said and "'raysplit submit kept.py'" in said
    command("jobs", "--json")
    rows = {row["job"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    reached = int(rows[job]["round"].partition("/")[0])
    assert rows[job]["status"] == "cancelled" and 3 <= reached < 14 and rows[job]["scenario"] == "kept"

    [begin] = [event for event in told(*submit) if event["event"] == "begin"]
    assert begin["rounds_done"] >= reached, "every complete round was kept"

    whole = Landing.take
    taken: list[tuple[str, int]] = []

    def breaking(self: Landing, event: dict[str, Any]) -> int:
        if len(taken) == 3:
            raise KeyboardInterrupt
        taken.append((event["path"], event["at"]))
        return whole(self, event)

    with monkeypatch.context() as patch, pytest.raises(SystemExit) as left:
        patch.setattr(Landing, "take", breaking)
        command("fetch", job)
    assert left.value.code == 130 and not list(Path("runs").glob("kept-*"))
    again: list[tuple[str, int]] = []
    piece = lambda self, event: (again.append((event["path"], event["at"])), whole(self, event))[1]  # noqa: E731
    monkeypatch.setattr(Landing, "take", piece)
    command("fetch", job)
    assert len(taken) == 3 and not set(taken) & set(again), "what was here did not come again"
    [run] = Path("runs").glob("kept-*")
    assert open_run(run).state.digest == digest_here(monkeypatch, "--set", "seed=7")


def test_without_the_token_or_with_another_one_nothing_is_uploaded(
    cluster: Cluster, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH")
    monkeypatch.setenv("HOME", str(here))
    with pytest.raises(SystemExit) as left:
        command("jobs")
    assert left.value.code == 2 and "asks for Ray's token and none was found here" in capsys.readouterr().err
    monkeypatch.setenv("RAY_AUTH_TOKEN", "another" * 8)
    started = time.monotonic()
    with pytest.raises(SystemExit) as left:
        command("jobs")
    assert left.value.code == 2 and "does not take the Ray token" in capsys.readouterr().err
    assert time.monotonic() - started < 10
