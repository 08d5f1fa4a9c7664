"""Every row of docs/errors.md, driven through the command line: one sentence, exit code 2, nothing damaged or left
behind."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import raysplit
import raysplit.engine.ray.cluster
import raysplit.engine.ray.session_folder
from raysplit import open_run
from raysplit.app.cli import main
from raysplit.app.running.live import ProgressLine
from raysplit.engine.placement import Resources
from raysplit.errors import ScenarioError
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.simulation.shared_rounds import check_longer
from raysplit.storage.schemas import ROUNDS
from raysplit.storage.stream import schema_message
from raysplit.training.settings import CosineDecay
from tests.errors.cases import CASES
from tests.errors.making import FINISHED, TINY, UNFINISHED, resume, scenario, stands
from tests.toys import toy

DOCUMENT = Path(__file__).parents[2] / "docs" / "errors.md"
ELSEWHERE = {
    *("attack-contract", "attack-rows", "defense-contract", "population-contract"),
    *("run-locked", "run-locked-round", "disk-full", "disk-full-at-the-start"),
    *("cluster-folder", "more-rounds-schedule"),
    *("dashboard-none", "token-missing", "token-wrong", "token-unreadable"),
    *("job-unknown", "job-under-way", "job-elsewhere", "job-fetch-early", "job-cancel-late"),
}
"""Rows with a test of their own: below, and those of dashboards and jobs in tests/app/submission/test_sentences.py."""


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(raysplit.__file__).parents[1])}


class Answer(NamedTuple):
    code: int
    out: str
    err: str


def documented() -> dict[str, str]:
    """The sentence of each row of docs/errors.md; ``…`` in it stands for anything."""
    rows = re.findall(r"^\| `([a-z-]+)` \|[^|]*\| `` (.+) `` \|$", DOCUMENT.read_text(), re.MULTILINE)
    assert len(dict(rows)) == len(rows), "two rows of docs/errors.md have one name"
    return dict(rows)


def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], arguments: list[str]) -> Answer:
    """``raysplit ARGUMENTS`` in this process."""
    monkeypatch.setattr(sys, "argv", ["raysplit", *arguments])
    capfd.readouterr()
    code = 0
    try:
        main()
    except SystemExit as leave:
        code = int(leave.code or 0)
    out, err = capfd.readouterr()
    # Ray's own log, of a cluster that an earlier test of this process had, meets the limit on files, too.
    return Answer(code, out, "".join(line for line in err.splitlines(True) if "[ray_log_sink]" not in line))


def tree(folder: Path) -> dict[str, str]:
    """Every file and folder under ``folder`` with its content's sha256; locks are empty and mean nothing when free."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in sorted(folder.rglob("*"))
        if path.name != ".lock"
    }


def is_the_sentence(answer: Answer, name: str) -> None:
    assert answer.code == 2, answer
    assert "Traceback" not in answer.err + answer.out
    assert answer.err.startswith("raysplit: "), answer.err
    assert answer.err.endswith("\n") and answer.err.count("\n") == 1, answer.err
    pattern = ".+?".join(re.escape(piece) for piece in documented()[name].split("…"))
    assert re.fullmatch(pattern, answer.err[len("raysplit: ") : -1]), f"{answer.err!r} is not {documented()[name]!r}"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run, and one with a run that was interrupted after its second round."""
    base = tmp_path_factory.mktemp("runs")
    for kind in (FINISHED, UNFINISHED):
        here = base / kind
        here.mkdir()
        scenario(here, TINY)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(here)
            patch.setattr(sys, "argv", ["raysplit", "run", "tiny.py", "--engine", "local", "--json"])
            if kind == FINISHED:
                main()
                continue
            patch.setattr(ProgressLine, "_round", _interrupting_after(2))
            with pytest.raises(SystemExit) as left:
                main()
            assert left.value.code == 130
    (base / FINISHED / "empty.arrow").write_bytes(schema_message(ROUNDS))
    return base


def _interrupting_after(last: int) -> Any:
    def interrupt(self: ProgressLine, form: Any) -> None:
        if form["round"] == last:
            raise KeyboardInterrupt

    return interrupt


@pytest.fixture
def here(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder beside the two runs, no prepared data on this machine, and a Ray cluster without a
    GPU."""
    folder = tmp_path / "here"
    folder.mkdir()
    for kind in (FINISHED, UNFINISHED):
        (tmp_path / kind).symlink_to(runs / kind)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("RAYSPLIT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))

    @contextmanager
    def connect(*_: object) -> Iterator[Resources]:
        yield Resources(cpus=2, gpus=0.0)

    # Starting Ray would cost ten seconds a case.
    monkeypatch.setattr(raysplit.engine.ray.cluster, "connect", connect)
    return folder


@pytest.mark.parametrize("name", CASES)
def test_wrong_input_is_one_sentence_and_changes_nothing(
    name: str, here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = CASES[name](here)
    before = tree(here)
    answer = command(monkeypatch, capfd, arguments)
    is_the_sentence(answer, name)
    assert tree(here) == before


def test_document_and_cases_agree() -> None:
    assert set(documented()) == {*CASES, *ELSEWHERE}


def test_run_in_the_hands_of_another_process(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    run = stands(here, UNFINISHED)
    code = (
        "import sys, time; from pathlib import Path; from raysplit.storage.lock import locked\n"
        "with locked(Path(sys.argv[1])): print(flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(run)], stdout=subprocess.PIPE, env=ENVIRONMENT)
    try:
        assert holder.stdout is not None and holder.stdout.readline()
        before = tree(here)
        is_the_sentence(command(monkeypatch, capfd, resume(run)), "run-locked")
        for options in ([], ["--overwrite"]):
            answer = command(monkeypatch, capfd, ["run", "tiny.py", "--engine", "local", *options])
            is_the_sentence(answer, "run-locked-round")
            assert f" process {holder.pid} on {socket.gethostname()}, at round 2 of 3" in answer.err
        assert tree(here) == before
    finally:
        holder.kill()
        holder.communicate()
    with open(run / ".lock", "w") as file:  # a killed holder holds nothing
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """A disk that takes no more: writes beyond ``size`` bytes a file fail as on a full one (EFBIG instead of
    ENOSPC)."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


def test_full_disk_in_the_middle_leaves_a_run_that_can_be_resumed(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = scenario(here, TINY, "--json", "--set", "checkpoint_every=1")
    with no_file_larger_than(50_000):  # tables fit, checkpoints do not
        answer = command(monkeypatch, capfd, arguments)
    is_the_sentence(answer, "disk-full")
    (run,) = (path for path in Path("runs").iterdir() if path.is_dir())
    assert open_run(run).rounds.num_rows == 1
    assert not list(run.rglob("*.part")) and not list(run.rglob("*.tmp"))
    assert command(monkeypatch, capfd, resume(run)).code == 0
    assert open_run(run).state.finished


@pytest.mark.parametrize("size", [100, 2500], ids=["folder", "tables"])
def test_full_disk_at_the_start_leaves_nothing(
    size: int, here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = scenario(here, TINY)
    with no_file_larger_than(size):  # the first tables are larger than what is written before them
        answer = command(monkeypatch, capfd, arguments)
    is_the_sentence(answer, "disk-full-at-the-start")
    assert not list(Path("runs").glob("*"))


def test_full_disk_under_overwrite_says_so(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    stands(here, FINISHED)
    with no_file_larger_than(100):
        answer = command(monkeypatch, capfd, ["run", "tiny.py", "--engine", "local", "--overwrite"])
    is_the_sentence(answer, "disk-full-at-the-start")


def test_interrupted_run_is_resumable_after_every_refusal(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    run = stands(here, UNFINISHED)
    assert command(monkeypatch, capfd, ["run", "tiny.py", "--engine", "local"]).code == 2
    assert command(monkeypatch, capfd, [*resume(run)[:2], "--engine", "local", "--hosts", "3"]).code == 2
    assert command(monkeypatch, capfd, resume(run)).code == 0
    (straight,) = (path for path in (here.parent / FINISHED / "runs").iterdir() if path.is_dir())
    assert open_run(run).state.digest == open_run(straight).state.digest


OWN = """
from dataclasses import replace
from raysplit.contracts import *

@part
class Crop(MessageAttack):
    threat_model = client_threat(Channel.SMASHED)

    def alter(self, message, view):
        return replace(message, tensor=message.tensor[:, :1])

@part
class Clone(UpdateAttack):
    threat_model = updates_threat("partial")

    def poison(self, view):
        return Poison(view.own[0])

@part
class Mine(AggregationRule):
    def aggregate(self, updates, weights, context):
        return updates.mean(0)

@part
class Shorter(PopulationSpec):
    def open(self):
        return Short()

class Short:
    def __init__(self):
        self.real = synthetic_writers(writers=20, mean_samples=30, sd_samples=5).open()
        self.info, self.train_sizes, self.test_sizes = self.real.info, self.real.train_sizes, self.real.test_sizes
        self.test = self.real.test

    def train(self, client):
        x, y = self.real.train(client)
        return Samples(x[1:], y[1:])

scenario = scenario.replace(CHANGE)
"""
MET_IN_ROUND_1 = {
    "attack-contract": "attack=Crop()",
    "attack-rows": "attack=Clone(), cohort=Cohort(4, 0.5, 'cohort')",
    "defense-contract": "defense=Mine()",
    "population-contract": "population=Shorter()",
}


@pytest.mark.parametrize("name", MET_IN_ROUND_1)
def test_an_own_part_that_breaks_its_contract_in_mid_run_is_one_sentence(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = TINY + OWN.replace("CHANGE", MET_IN_ROUND_1[name])
    is_the_sentence(command(monkeypatch, capfd, scenario(tmp_path, text)), name)


def test_without_a_folder_for_sockets_it_says_which_were_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path / ("long" * 12)))
    monkeypatch.setattr(raysplit.engine.ray.session_folder, "LAST", tmp_path / "nowhere")
    is_the_sentence(command(monkeypatch, capfd, scenario(tmp_path, TINY, engine="ray")), "cluster-folder")
    assert not (tmp_path / "runs").exists()


def test_more_rounds_under_a_schedule_that_would_have_gone_otherwise() -> None:
    tiny = toy(SplitFedV2(), name="tiny", training__rounds=3, training__schedule=CosineDecay())
    with pytest.raises(ScenarioError) as refused:
        check_longer(tiny, 5)
    is_the_sentence(Answer(2, "", f"raysplit: {refused.value}\n"), "more-rounds-schedule")


def test_an_interrupt_says_which_run_it_stopped_and_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.py").write_text(TINY + 'scenarios = grid(scenario, seed={"a": 1, "b": 2, "c": 3})\n')
    monkeypatch.setattr(ProgressLine, "_round", _interrupting_after(2))
    answer = command(monkeypatch, capfd, ["run", "tiny.py", "--engine", "local", "--out", "my runs"])
    [run] = (tmp_path / "my runs").iterdir()
    assert answer.code == 130 and answer.err == (
        f"raysplit: interrupted at round 2 of 3; 'raysplit resume \"my runs/{run.name}\"' goes on from there, and "
        "'raysplit sweep tiny.py' then plays the 2 scenarios left\n"
    )
