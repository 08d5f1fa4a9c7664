"""Whole runs through the real command line: finished, killed, interrupted, resumed, forked, on either engine."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from raysplit import open_run
from raysplit.analysis.runs.run import Run
from raysplit.storage.schemas import SCHEMAS, deterministic_columns

TINY = """\
from raysplit import *

scenario = Scenario(
    name="tiny",
    population=synthetic_writers(writers=20, mean_samples=30, sd_samples=5),
    model=femnist_cnn(cut="V2"),
    protocol=SplitFedV2(),
    cohort=Cohort(size=4, malicious=0.25, of="cohort"),
    training=Training(rounds={rounds}, lr=0.01, batch_size=8, optimizer=Adam()),
    defense=TrimmedMean(),
    evaluation=Evaluation(clients=5),
    checkpoint_every=2,
    devices=Devices(clients=LogNormalDevices(PHONE)),
)
"""
PAIR = 'scenarios = grid(scenario, attack={"clean": None, "attacked": AgrTailored(start_round=3)})\n'
LONG = 12
PATIENCE_S = 240


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "raysplit.app.cli", *arguments]


def cli(here: Path, *arguments: str, code: int = 0) -> str:
    """Standard output of ``raysplit ARGUMENTS`` in ``here``, which must end with ``code``."""
    ended = subprocess.run(command(*arguments), cwd=here, capture_output=True, text=True, timeout=PATIENCE_S)
    assert ended.returncode == code, (ended.returncode, ended.stdout[-2000:], ended.stderr[-2000:])
    assert "Traceback" not in ended.stderr
    return ended.stdout if code == 0 else ended.stderr


def lines(out: str) -> list[dict[str, Any]]:
    """``--json`` output; fails on a line that is no JSON object."""
    found = [json.loads(line) for line in out.splitlines()]
    assert all(isinstance(form, dict) for form in found)
    return found


def start(here: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """``raysplit ARGUMENTS`` at the head of a process group of its own, in the background."""
    log = open(here / "background.log", "wb")  # noqa: SIM115 - handed to the process
    with log:
        # A suite that was itself started with nohup or & has SIGHUP or SIGINT ignored, which children inherit; a user's
        # shell has not.
        usual = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
        before = {number: signal.signal(number, handler) for number, handler in usual.items()}
        try:
            return subprocess.Popen(command(*arguments), cwd=here, stdout=log, stderr=log, start_new_session=True)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def stop_after_rounds(here: Path, process: subprocess.Popen[bytes], rounds: int, stop: Callable[[], None]) -> int:
    """Call ``stop`` as soon as the only run under ``here`` has recorded ``rounds`` rounds; the exit code."""
    deadline = time.monotonic() + PATIENCE_S
    while _rounds(here) < rounds:
        assert process.poll() is None and time.monotonic() < deadline, (here / "background.log").read_text()
        time.sleep(0.01)
    stop()
    return process.wait(PATIENCE_S)


def _rounds(here: Path) -> int:
    found = [path for path in (here / "runs").glob("*/metrics/evaluations.arrow") if path.is_file()]
    return open_run(found[0].parents[1]).rounds.num_rows if found else 0


def only_run(here: Path) -> Run:
    (folder,) = (path for path in (here / "runs").iterdir() if path.is_dir())
    return open_run(folder)


def tables(run: Run) -> dict[str, pa.Table]:
    """What two runs of one scenario must have in common, bit for bit."""
    return {name: getattr(run, name).select(deterministic_columns(schema)) for name, schema in SCHEMAS.items()}


def assert_same(one: Run, other: Run) -> None:
    assert one.state.digest is not None and one.state.digest == other.state.digest
    tables_of_one, tables_of_other = tables(one), tables(other)
    different = [
        f"{name}.{column}"
        for name, table in tables_of_one.items()
        for column in table.column_names
        if not table.column(column).equals(tables_of_other[name].column(column))
    ]
    assert not different


def prepared(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tiny.py").write_text(text)
    return folder


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run of ``LONG`` rounds without a break, on the local engine: its working folder and what ``--json`` said."""
    here = prepared(tmp_path_factory.mktemp("straight"), TINY.format(rounds=LONG))
    return here, cli(here, "run", "tiny.py", "--engine", "local", "--json")


def test_finished_run_has_everything(straight: tuple[Path, str]) -> None:
    here, out = straight
    run = only_run(here)
    expected = {"scenario.py", "scenario.json", "environment.json", "origin.json", "run.json"}
    assert expected <= {path.name for path in run.path.iterdir()}
    assert {path.name for path in (run.path / "metrics").iterdir()} == {f"{name}.arrow" for name in SCHEMAS}
    newest = run.path / "checkpoints" / f"round-{LONG:06d}"
    assert {path.name for path in newest.iterdir()} == {"model.safetensors", "state.json"}
    assert list((run.path / "checkpoints").iterdir()) == [newest]
    assert (run.path / "scenario.py").read_text() == (here / "tiny.py").read_text()
    assert run.scenario["training"]["rounds"] == LONG
    assert run.state.finished and run.state.rounds == LONG
    assert run.rounds.column("round").to_pylist() == list(range(1, LONG + 1))
    assert run.clients.num_rows == 4 * LONG
    assert run.evaluations.to_pandas().accuracy.between(0, 1).all()
    assert not list(run.path.rglob("__pycache__")) and not list(run.path.rglob("*.tmp"))
    told = lines(out)
    assert [form["event"] for form in told] == ["begin", *["round"] * LONG, "end"]
    assert told[-1]["digest"] == run.state.digest == json.loads((newest / "state.json").read_text())["digest"]
    assert told[-1]["status"] == "finished" and told[-1]["accuracy"] == run.summary().final
    assert [form["train_loss"] for form in told[1:-1]] == run.rounds.column("train_loss").to_pylist()


def test_text_says_what_the_record_says(tmp_path: Path) -> None:
    here = prepared(tmp_path, TINY.format(rounds=2))
    out = cli(here, "run", "tiny.py", "--engine", "local")
    digest = only_run(here).state.digest
    assert digest is not None and f"model digest {digest[:16]}" in out
    assert "SYNTHETIC" in out


def test_report_needs_nothing_else(straight: tuple[Path, str]) -> None:
    here, _ = straight
    run = only_run(here)
    out = cli(here, "report", str(run.path), "--out", "page/report.html")
    for page in (here / "page" / "report.html", here / "runs" / "report-tiny.html"):
        text = page.read_text()
        assert "data:image" in text
        assert not re.findall(
            r"""(?:src|href|action)\s*=\s*["']?\s*(?:https?:)?//|url\(\s*["']?https?:|@import""", text
        )
        (picture,) = page.parent.glob("*-accuracy*.png")
        assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert str(here / "page" / "report.html") in out


def test_killed_run_resumes_to_the_same_bits(straight: tuple[Path, str], tmp_path: Path) -> None:
    here = prepared(tmp_path, TINY.format(rounds=LONG))
    process = start(here, "run", "tiny.py", "--engine", "local")
    stop_after_rounds(here, process, 5, process.kill)
    killed = only_run(here)
    assert 5 <= killed.state.rounds < LONG and killed.state.status == "running"
    assert killed.clients.num_rows >= 4 * 5
    refused = cli(here, "run", "tiny.py", "--engine", "local", code=2)
    assert "unfinished" in refused and "raysplit resume" in refused
    told = lines(cli(here, "resume", str(killed.path), "--engine", "local", "--json"))
    assert told[0]["rounds_done"] >= 4
    assert_same(only_run(here), only_run(straight[0]))


def test_run_killed_again_and_again_resumes_to_the_same_bits(straight: tuple[Path, str], tmp_path: Path) -> None:
    here = prepared(tmp_path, TINY.format(rounds=LONG))
    process = start(here, "run", "tiny.py", "--engine", "local")
    stop_after_rounds(here, process, 1, process.kill)  # before the first checkpoint: it goes on from the start
    folder = str(only_run(here).path)
    for rounds in (4, 9):
        process = start(here, "resume", folder, "--engine", "local")
        stop_after_rounds(here, process, rounds, process.kill)
    cli(here, "resume", folder, "--engine", "local")
    assert_same(only_run(here), only_run(straight[0]))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_run_resumes_to_the_same_bits(
    number: signal.Signals, straight: tuple[Path, str], tmp_path: Path
) -> None:
    here = prepared(tmp_path, TINY.format(rounds=LONG))
    process = start(here, "run", "tiny.py", "--engine", "local")
    code = stop_after_rounds(here, process, 3, lambda: process.send_signal(number))
    assert code == 130
    said = (here / "background.log").read_text()
    run = only_run(here)
    way = f"'raysplit resume {run.path.relative_to(here)}' goes on from there"
    assert f"raysplit: interrupted at round {run.state.rounds} of {LONG}; {way}\n" in said and "Traceback" not in said
    assert run.state.status == "interrupted" and 3 <= run.state.rounds < LONG
    told = lines(cli(here, "resume", str(run.path), "--engine", "local", "--json"))
    assert told[0]["rounds_done"] >= 3
    assert_same(only_run(here), only_run(straight[0]))


def test_attacked_run_forked_from_its_clean_twin_is_the_same_run(tmp_path: Path) -> None:
    together, alone = (prepared(tmp_path / name, TINY.format(rounds=5) + PAIR) for name in ("together", "alone"))
    cli(together, "run", "tiny.py", "--engine", "local")
    cli(alone, "run", "tiny.py", "--engine", "local", "--only", "tiny-attacked")
    (clean,) = (together / "runs").glob("tiny-clean-*")
    (forked,) = (together / "runs").glob("tiny-attacked-*")
    assert json.loads((forked / "run.json").read_text())["forked_from"] == clean.name
    lonely = only_run(alone)
    assert "forked_from" not in lonely.state.record
    assert_same(open_run(forked), lonely)
    benign, attacked = tables(open_run(clean)), tables(lonely)
    for name in SCHEMAS:
        before = [[row for row in table[name].to_pylist() if row["round"] < 3] for table in (benign, attacked)]
        assert before[0] == before[1], name
        assert any(before) or name in ("attacks", "detection", "client_scores", "privacy")
    assert lonely.rounds.column("attacked").to_pylist() == [False, False, True, True, True]
    assert open_run(clean).state.digest != lonely.state.digest
    cli(together, "report", str(clean), str(forked))


@pytest.fixture
def descendants(monkeypatch: pytest.MonkeyPatch) -> Callable[[], dict[int, str]]:
    """The processes that commands of this test have left behind after a minute's grace: id and command line.

    They are known by a mark in their environment, since Ray detaches what it starts, and others may run Ray here too.
    """
    mark = f"RAYSPLIT_TEST_MARK={uuid.uuid4().hex}"
    monkeypatch.setenv(*mark.split("="))

    def left() -> dict[int, str]:
        deadline = time.monotonic() + 60
        while (found := _marked(mark.encode())) and time.monotonic() < deadline:
            time.sleep(0.5)
        return found

    return left


def _marked(mark: bytes) -> dict[int, str]:
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if mark in (entry / "environ").read_bytes():
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:120]
            except OSError:
                continue  # it has gone, or is not ours
    return found


@pytest.mark.slow
def test_engines_agree_and_leave_nothing(
    straight: tuple[Path, str], tmp_path: Path, descendants: Callable[[], dict[int, str]]
) -> None:
    here = prepared(tmp_path, TINY.format(rounds=LONG))
    cli(here, "run", "tiny.py", "--hosts", "1")
    run = only_run(here)
    assert run.state.record["engine"]["engine"] == "ray"
    assert_same(run, only_run(straight[0]))
    assert not descendants()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_ray_run_resumes_to_the_same_bits(
    straight: tuple[Path, str], tmp_path: Path, descendants: Callable[[], dict[int, str]]
) -> None:
    here = prepared(tmp_path, TINY.format(rounds=LONG))
    process = start(here, "run", "tiny.py", "--hosts", "1")
    # As ``timeout`` and batch systems end a job: Ray's own processes are told as well.
    code = stop_after_rounds(here, process, 3, lambda: os.killpg(process.pid, signal.SIGTERM))
    said = (here / "background.log").read_text()
    assert code == 130 and "SIGTERM received" not in said and "Traceback" not in said, said
    run = only_run(here)
    assert said.endswith(f"'raysplit resume {run.path.relative_to(here)}' goes on from there\n")
    assert run.state.status == "interrupted"
    assert not descendants()
    told = start(here, "resume", str(run.path), "--hosts", "1")
    stop_after_rounds(here, told, run.state.rounds + 2, lambda: os.killpg(told.pid, signal.SIGKILL))
    assert not descendants()
    killed = only_run(here)
    assert 3 <= killed.state.rounds < LONG and killed.state.status == "running"
    cli(here, "resume", str(killed.path), "--hosts", "1")
    assert_same(only_run(here), only_run(straight[0]))
    assert not descendants()
