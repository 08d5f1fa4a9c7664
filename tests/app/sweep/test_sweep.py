"""``raysplit sweep`` through the command line: what is passed over, resumed, gone on after, and reported."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pyarrow as pa
import pytest

from raysplit import open_run
from raysplit.analysis.report.sweep import RESULTS
from raysplit.app.running.runner import Ended, Failed
from raysplit.app.sweep.traces import with_trace_kept
from raysplit.storage.run_folder import RunFolder
from tests.analysis.report.test_page import read
from tests.app.sweep.tiny import TINY
from tests.end_to_end.test_runs import assert_same, cli, start

SCENARIOS = 14
BAD = '''
from raysplit.aggregation.update_attack import Poison, UpdateAttack, updates_threat
from raysplit.parts.part import part


@part
class Broken(UpdateAttack):
    """Stops working in its second round."""

    start_round: int = 4

    @property
    def threat_model(self):
        return updates_threat("full")

    def poison(self, view):
        if view.round == 5:
            raise RuntimeError("out of poison")
        return Poison(-view.own)


@part
class Blind(UpdateAttack):
    """Sends what is no number."""

    start_round: int = 4

    @property
    def threat_model(self):
        return updates_threat("full")

    def poison(self, view):
        return Poison(view.own * float("nan"))


always = Cohort(size=4, malicious=0.25, of="cohort")  # one of four in every round
clean, sign = (one.replace(cohort=always) for one in scenarios if one.name in ("FL-mean-clean", "FL-mean-sign"))
scenarios = [
    clean,
    sign.replace(name="broken", attack=Broken()),
    sign.replace(name="blind", attack=Blind()),
    sign,
]
'''


def written(here: Path, text: str) -> Path:
    here.mkdir(parents=True, exist_ok=True)
    (here / "tiny.py").write_text(text)
    return here


def rows(here: Path) -> dict[str, dict]:
    with pa.ipc.open_file(here / "runs" / "sweep-tiny" / "results.arrow") as file:
        table = file.read_all()
    assert table.select(RESULTS.names).schema.equals(RESULTS)
    return {row["scenario"]: row for row in table.to_pylist()}


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    here = written(tmp_path_factory.mktemp("swept"), TINY)
    planned = cli(here, "sweep", "tiny.py", "--engine", "local", "--dry-run")
    assert not (here / "runs").exists()
    assert f"{SCENARIOS} scenarios, 0 of them ended; 70 rounds in all" in planned and "32 to train" in planned
    assert re.search(r"^V2-median-late +new +5 +0 +4 +1 +[0-9.]+ m?s +V2-median-clean$", planned, re.MULTILINE)
    assert re.search(r"^About [0-9.]+ m?s on this machine", planned, re.MULTILINE)
    return here, cli(here, "sweep", "tiny.py", "--engine", "local", "--jobs", "2")


def test_a_log_has_a_line_a_scenario_and_where_the_report_is(swept: tuple[Path, str]) -> None:
    _, out = swept
    assert out.count(": finished, test accuracy") == SCENARIOS and f"[{SCENARIOS}/{SCENARIOS}]" in out
    assert "round 3" not in out and "\x1b" not in out
    assert out.rstrip().endswith("sweep-tiny/report.html")
    _, _, table = out.partition(
        "SplitFedV2 V2, 25 % malicious, cohort.of=population: final accuracy in % (drop in points)"
    )
    assert re.match(r"\s+attack +Mean +Median *\n─+\nno attack +[0-9.]+ +[0-9.]+ *\n", table)


def test_the_report_has_a_table_for_each_split_and_share_and_says_what_was_shared(swept: tuple[Path, str]) -> None:
    here, _ = swept
    page = (here / "runs" / "sweep-tiny" / "report.html").read_text()
    text = " ".join(read(page).text)
    for title in ("SplitFedV2 V2, 25 % malicious", "FL (FedAvg), 25 % malicious"):
        assert title in text
    assert (
        "Synthetic data." in text
        and "14 of 14 scenarios have ended. Their 70 rounds took 32 rounds of training" in text
    )
    assert "StartAtRound" not in text  # the tables name what acts
    found = rows(here)
    assert len(found) == SCENARIOS and {row["status"] for row in found.values()} == {"finished"}
    attacked, clean = found["V2-median-sign"], found["V2-median-clean"]
    assert attacked["drop_final"] == clean["final"] - attacked["final"]
    assert (attacked["defense"], attacked["defense_start"], attacked["shared_rounds"]) == ("Median", 4, 3)
    assert (found["V2-mean-clean"]["cohort.of"], found["FL-mean-clean"]["cohort.of"]) == ("population", "cohort")
    assert clean["attack"] is None and found["FL-mean-clean"]["cut"] is None
    assert (here / "runs" / "sweep-tiny" / "results.csv").read_text().count("\n") == SCENARIOS + 1


def test_a_sweep_again_trains_nothing_and_writes_the_same_report(swept: tuple[Path, str]) -> None:
    here, _ = swept
    folder = here / "runs" / "sweep-tiny"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    stamps = {path: path.stat().st_mtime_ns for path in (here / "runs").glob("*/run.json")}
    assert f"{SCENARIOS} of them ended" in cli(here, "sweep", "tiny.py", "--engine", "local")
    assert stamps == {path: path.stat().st_mtime_ns for path in (here / "runs").glob("*/run.json")}
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}


def test_one_that_fails_and_one_that_diverges_do_not_stop_the_others(tmp_path: Path) -> None:
    here = written(tmp_path, TINY + BAD)
    told = cli(here, "sweep", "tiny.py", "--engine", "local", code=3)
    assert told == ""
    found = rows(here)
    assert {name: row["status"] for name, row in found.items()} == {
        "FL-mean-clean": "finished",
        "broken": "failed",
        "blind": "diverged",
        "FL-mean-sign": "finished",
    }
    assert found["broken"]["rounds"] == 4
    trace = Path("runs", "sweep-tiny", "failed", "broken.txt")
    assert found["broken"]["why"] == f"RuntimeError: out of poison (traceback: {trace})"
    kept = (here / trace).read_text()
    assert kept.startswith("Traceback") and 'raise RuntimeError("out of poison")' in kept and "in poison" in kept
    text = (here / "runs" / "sweep-tiny" / "report.html").read_text()
    assert "<strong>Failed.</strong> broken" in text and "<strong>Diverged.</strong> blind" in text
    assert found["broken"]["drop_final"] is None  # it has an accuracy, but of another round


def test_a_traceback_is_kept_until_its_scenario_ends_otherwise(tmp_path: Path) -> None:
    file = tmp_path / "sweep" / "failed" / "broken.txt"
    broken = Failed(RunFolder(tmp_path), "KeyError: 'b'", "Traceback ...")
    assert with_trace_kept(broken, file) == Failed(broken.folder, f"KeyError: 'b' (traceback: {file})", broken.trace)
    assert file.read_text() == "Traceback ..."
    sentence = Failed(RunFolder(tmp_path), "Mine.aggregate() must return an Aggregate, but it returned a Tensor")
    assert with_trace_kept(sentence, file) == sentence and not file.parent.exists()
    file.parent.mkdir()
    (file.parent / "another.txt").touch()
    with_trace_kept(broken, file)
    ended = Ended(RunFolder(tmp_path), "finished", "ab", 0.5)
    assert with_trace_kept(ended, file) is ended and [path.name for path in file.parent.iterdir()] == ["another.txt"]


def test_an_interrupted_sweep_goes_on_where_it_was(tmp_path: Path, swept: tuple[Path, str]) -> None:
    here = written(tmp_path, TINY)
    process = start(here, "sweep", "tiny.py", "--engine", "local", "--jobs", "2")
    deadline = time.monotonic() + 120
    while len(list((here / "runs").glob("*/run.json"))) < 4:
        assert process.poll() is None and time.monotonic() < deadline, (here / "background.log").read_text()
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(60) == 130
    # A signal between a run's last round and its last mark leaves it "running"; whatever they say, they can be gone on
    # with.
    assert len(list((here / "runs").glob("*/run.json"))) < SCENARIOS
    cli(here, "sweep", "tiny.py", "--engine", "local")
    for folder in (swept[0] / "runs").glob("*-??????????"):
        assert_same(open_run(here / "runs" / folder.name), open_run(folder))
