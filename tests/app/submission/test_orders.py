"""What a job is called, what of it is uploaded, how a killed driver comes back, and what is said of all that."""

from __future__ import annotations

import dataclasses
import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from raysplit.app.running.engine_choice import EngineChoice
from raysplit.app.running.interruption import Stopped
from raysplit.app.running.live import Live
from raysplit.app.submission import entry
from raysplit.app.submission.attempts import attempts, metadata, named, newest, ray_id
from raysplit.app.submission.driver import CONNECTS, connected, play
from raysplit.app.submission.follow import follow
from raysplit.app.submission.installed import differences, installed, lacking
from raysplit.app.submission.listing import entry as row
from raysplit.app.submission.log_lines import event_in, line_of
from raysplit.app.submission.order import FILE, FOLDER, Order
from raysplit.app.submission.package import packed
from raysplit.app.submission.session import AGAIN, submit_and_follow
from raysplit.app.submission.submit import Checked, checked, submit
from raysplit.engine.ray.cluster import NoCluster
from raysplit.engine.ray.jobs import JobUnknown, RayJob, check_dashboard
from raysplit.errors import ClusterError, ScenarioError

TEXT = """\
from raysplit import *
from helpers.rates import LR

scenario = Scenario(
    name="tiny",
    population=synthetic_writers(writers=5, mean_samples=4, sd_samples=1),
    model=femnist_cnn(cut="V2"),
    protocol=SplitFedV2(),
    cohort=Cohort(size=2),
    training=Training(rounds=2, lr=LR),
    evaluation=Evaluation(clients=1),
)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny file.py").write_text(TEXT)
    (tmp_path / "helpers").mkdir()
    (tmp_path / "helpers" / "__init__.py").write_text("")
    (tmp_path / "helpers" / "rates.py").write_text("LR = 0.1\n")
    (tmp_path / "data.bin").write_bytes(b"0" * 1000)
    return tmp_path


def ordered(store: str = "~/kept", sets: tuple[str, ...] = (), sweep: bool = False, **choice: Any) -> Checked:
    return checked(Path("tiny file.py"), list(sets), None, sweep, False, EngineChoice(**choice), store)


def test_a_job_is_named_by_what_it_computes_and_not_by_how(here: Path) -> None:
    name = ordered().order.job
    assert name.startswith("tiny-file-") and name == ordered(store="/other", hosts=3, shards=2).order.job
    assert name != ordered(sets=("training.rounds=3",)).order.job and name != ordered(sweep=True).order.job


def test_an_order_arrives_as_it_was_sent(here: Path) -> None:
    order = ordered(hosts=2, gpus_per_host=0.5, sets=("seed=3",)).order
    assert Order.from_json(order.to_json()) == order
    assert order.folder == Path.home() / "kept" / order.job / "runs"


def test_raysplit_the_file_and_its_modules_are_uploaded_and_no_data(here: Path) -> None:
    what = ordered()
    with packed(what.order, what.module) as folder:
        assert {path.name for path in folder.iterdir()} == {"raysplit", FOLDER}
        found = {path.relative_to(folder / FOLDER).as_posix() for path in (folder / FOLDER).rglob("*.*")}
        assert found == {"tiny file.py", "helpers/__init__.py", "helpers/rates.py", FILE}
        assert (folder / "raysplit" / "app" / "submission" / "driver.py").is_file()
        assert not list(folder.rglob("*.pyc"))


def test_what_arrives_is_played_once_and_passed_over_when_it_is_there(
    here: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    what = ordered(store=str(tmp_path / "store"))
    local = EngineChoice("local")
    with packed(what.order, what.module) as folder:
        assert play(what.order, folder / FOLDER / what.order.file, local) == 0
        first = [event for event in map(event_in, capsys.readouterr().out.splitlines()) if event]
        assert play(what.order, folder / FOLDER / what.order.file, local) == 0
        second = [event for event in map(event_in, capsys.readouterr().out.splitlines()) if event]
    kinds = [event["event"] for event in first if event["event"] != "note"]
    assert kinds == ["scenario", "begin", "round", "round", "end"]
    assert [event["event"] for event in second if event["event"] != "note"] == ["scenario", "end"]
    assert second[1] == first[4]
    assert follow(map(line_of, first), Live(False, 1)).code is None
    shown = capsys.readouterr().out
    assert "[1/1] tiny\n" in shown and "  round 2/2  " in shown and f"model digest {first[4]['digest'][:16]}" in shown


def test_another_scenario_on_the_cluster_is_refused_before_training(here: Path, tmp_path: Path) -> None:
    what = ordered(store=str(tmp_path / "store"))
    with packed(what.order, what.module) as folder:
        (folder / FOLDER / "helpers" / "rates.py").write_text("LR = 0.2\n")
        with pytest.raises(ScenarioError, match=r"'tiny' was submitted as .* but is .* on the cluster"):
            play(what.order, folder / FOLDER / what.order.file, EngineChoice("local"))
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(("kills", "code"), [(0, 0), (2, 0), (entry.RESTARTS, 0), (entry.RESTARTS + 1, 137)])
def test_a_driver_that_is_killed_is_started_again_a_bounded_number_of_times(
    tmp_path: Path, kills: int, code: int
) -> None:
    program = (
        "import os, pathlib, sys; p = pathlib.Path('n'); n = int(p.read_text()) if p.exists() else 0; "
        f"p.write_text(str(n + 1)); n < {kills} and os.kill(os.getpid(), 9)"
    )
    told: list[dict[str, Any]] = []
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert entry.kept_alive([sys.executable, "-S", "-c", program], told.append, 0, tmp_path) == code
    finally:
        signal.signal(signal.SIGTERM, before)
    assert [event["event"] for event in told] == ["restart"] * min(kills, entry.RESTARTS) + ["stopped"] * (code != 0)


def test_a_driver_that_ends_by_itself_or_because_it_was_told_to_is_not_started_again(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    stop = "import os, signal; os.kill(os.getppid(), signal.SIGTERM); os.kill(os.getpid(), 9)"
    try:
        assert entry.kept_alive([sys.executable, "-S", "-c", "raise SystemExit(3)"], pytest.fail, 0) == 3
        assert entry.kept_alive([sys.executable, "-S", "-c", stop], pytest.fail, 0) == 137
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("failures", [0, CONNECTS - 1, CONNECTS])
def test_a_busy_cluster_is_asked_again(failures: int) -> None:
    asked: list[int] = []

    def play() -> int:
        asked.append(1)
        if len(asked) <= failures:
            raise NoCluster("busy")
        return 0

    if failures == CONNECTS:
        with pytest.raises(NoCluster):
            connected(play, 0)
    else:
        assert connected(play, 0) == 0
    assert len(asked) == min(failures + 1, CONNECTS)


def test_versions_that_differ_are_said_and_missing_ones_refused() -> None:
    here = installed()
    assert differences(here, here) is None and lacking(here) is None
    assert differences(here, {**here, "torch": "1.0"}) == (
        f"the cluster has torch 1.0 (here {here['torch']}); digests may differ from those of a run here"
    )
    assert "no pyarrow and no torch; install" in str(lacking({**here, "torch": "missing", "pyarrow": "missing"}))


class Known:
    """A cluster that knows some jobs and takes new ones."""

    address = "http://head:8265"

    def __init__(self, *jobs: RayJob) -> None:
        self.jobs = list(jobs)

    def listed(self) -> list[RayJob]:
        return self.jobs

    def submit(self, id: str, command: str, about: dict[str, str], folder: Path, variables: dict[str, str]) -> None:
        self.jobs.append(RayJob(id, "PENDING", "", about, 9.0))

    def get(self, id: str) -> RayJob:
        return next(job for job in self.jobs if job.id == id)


def known(job: str, number: int, status: str, store: str = "~/kept") -> RayJob:
    return RayJob(ray_id(job, number), status, "", metadata(job, number, store, "tiny.py", 2), float(number))


def test_the_newest_attempt_stands_for_a_job_and_others_jobs_are_none(here: Path) -> None:
    job = ordered().order.job
    other = RayJob("theirs", "RUNNING", "", {}, 0.0)
    known_jobs = [
        other,
        known(job, 2, "RUNNING"),
        known(job, 1, "FAILED"),
        known("b", 10, "FAILED"),
        known("b", 9, "X"),
    ]
    assert {name: found.number for name, found in newest(known_jobs).items()} == {job: 2, "b": 10}
    assert len(attempts(known_jobs)) == 4 and named("b", known_jobs, "").number == 10
    with pytest.raises(ClusterError, match="did you mean"):
        named(job[:-1], known_jobs, "http://head:8265")


def test_a_job_is_submitted_again_under_the_next_number_unless_it_is_under_way(here: Path) -> None:
    what = ordered()
    cluster: Any = Known()
    assert submit(what, cluster).number == 1
    with pytest.raises(ClusterError, match="is under way on http://head:8265 already"):
        submit(what, cluster)
    ended: Any = Known(known(what.order.job, 1, "STOPPED"))
    assert submit(what, ended).ray.id == ray_id(what.order.job, 2)
    moved: Any = Known(known(what.order.job, 1, "STOPPED", store="/data"))
    with pytest.raises(ClusterError, match="has its runs in /data on the cluster"):
        submit(what, moved)


def test_a_row_of_the_list_is_read_off_the_end_of_a_log() -> None:
    [attempt] = attempts([known("tiny-1", 1, "STOPPED")])
    lines = [
        "noise",
        line_of({"event": "begin", "name": "a", "rounds_done": 2, "of": 9}),
        line_of({"event": "round", "name": "a", "round": 3, "of": 9}),
        line_of({"event": "stopped", "sentence": "interrupted", "code": 130}),
    ]
    found = row(attempt, lines)
    assert (found.status, found.scenario, found.round, found.folder) == ("cancelled", "a", "3/9", "~/kept/tiny-1/runs")
    assert row(attempt, []).round == "" and row(attempt, lines[:2]).round == "2/9"


@pytest.mark.parametrize("line", ["", "@raysplit", "@raysplit {", "@raysplit 3", '@raysplit {"event": 1}', "{}"])
def test_a_line_that_is_no_event_is_none(line: str) -> None:
    assert event_in(line) is None
    assert event_in("loading ... " + line_of({"event": "x"})) == {"event": "x"}


@pytest.mark.parametrize(
    "address", ["head:6379", "auto", "http://head", "ray://head:10001", "http://h:99999", "http://h:1/x"]
)
def test_an_address_that_is_no_dashboards_is_a_sentence(address: str) -> None:
    with pytest.raises(ClusterError, match="is not the address of a Ray dashboard, such as http://head:8265"):
        check_dashboard(address)


def test_how_a_driver_ended_is_what_the_command_ends_with(capsys: pytest.CaptureFixture[str]) -> None:
    stopped = {"event": "stopped", "sentence": "the disk is full", "code": 2}
    followed = follow([line_of(stopped), "a trace"], Live(False, 1))
    assert (followed.code, followed.sentence, followed.others) == (2, "the disk is full", ["a trace"])
    assert json.loads(line_of(stopped).removeprefix("@raysplit ")) == stopped


class Lost(Known):
    """A cluster that loses the first attempts at a job: it forgets them, or its head takes them along."""

    def __init__(self, losses: int, forgets: bool) -> None:
        super().__init__()
        self.losses, self.forgets = losses, forgets

    def log(self, id: str) -> list[str]:
        lost = len(self.jobs) <= self.losses
        self.jobs[-1] = dataclasses.replace(self.jobs[-1], status="FAILED" if lost else "SUCCEEDED", message="died")
        if lost and self.forgets:
            raise JobUnknown("knows no such job")
        cluster = {"event": "cluster", "folder": "~", "job": "", "versions": {}}
        return [line_of(cluster)] + [line_of({"event": "exit", "code": 0})] * (not lost)


@pytest.mark.parametrize("forgets", [True, False])
@pytest.mark.parametrize("losses", [0, 2, AGAIN])
def test_a_job_that_the_cluster_lost_is_submitted_again_while_somebody_follows(
    here: Path, monkeypatch: pytest.MonkeyPatch, losses: int, forgets: bool
) -> None:
    cluster: Any = Lost(losses, forgets)
    monkeypatch.setattr("raysplit.app.submission.session.RayJobs", lambda address, say: cluster)
    if losses == AGAIN:
        with pytest.raises(ClusterError, match="was lost 3 times on http://head:8265"):
            submit_and_follow(ordered(), cluster.address, None, False, True)
    else:
        submit_and_follow(ordered(), cluster.address, None, False, True)
    assert [attempt.number for attempt in attempts(cluster.jobs)] == list(range(1, min(losses, AGAIN - 1) + 2))


def test_a_job_that_ends_badly_by_itself_is_not_submitted_again(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster: Any = Lost(9, False)
    lines = [line_of({"event": "stopped", "sentence": "2 of 3 scenarios failed", "code": 3})]
    monkeypatch.setattr("raysplit.app.submission.session.RayJobs", lambda address, say: cluster)
    monkeypatch.setattr(cluster, "log", lambda id: lines)
    monkeypatch.setattr(cluster, "get", lambda id: dataclasses.replace(cluster.jobs[-1], status="FAILED"))
    with pytest.raises(Stopped, match="2 of 3 scenarios failed") as left:
        submit_and_follow(ordered(), cluster.address, None, False, True)
    assert left.value.code == 3 and len(cluster.jobs) == 1
