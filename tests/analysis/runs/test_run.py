from __future__ import annotations

import math
from pathlib import Path

import pytest

from raysplit.analysis.runs.run import open_run
from raysplit.errors import RunError
from raysplit.storage import open_tables
from raysplit.storage.atomic import write_json
from tests.storage.rows import evaluation_row, round_row


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten rounds, evaluated at each, that rise to 0.8 at round 6 and fall afterwards."""
    accuracies = [0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.6, 0.4, 0.3, 0.2]
    with open_tables(tmp_path / "metrics") as tables:
        for number, accuracy in enumerate(accuracies, 1):
            tables.rounds.append(round_row(number))
            tables.evaluations.append(evaluation_row(number, accuracy))
    write_json(tmp_path / "scenario.json", {"name": "small", "seed": 42})
    return tmp_path


def test_a_run_reads_back_with_its_tables_and_its_scenario(folder: Path) -> None:
    run = open_run(folder)
    assert run.name == "small" and run.scenario["seed"] == 42 and run.environment == {}
    assert run.rounds.to_pandas()["round"].tolist() == list(range(1, 11))
    assert run.attacks.num_rows == 0


def test_final_and_best_and_late_accuracy_are_told_apart(folder: Path) -> None:
    summary = open_run(folder).summary()
    assert (summary.final, summary.final_round) == (0.2, 10)
    assert (summary.best, summary.best_round) == (0.8, 6)
    assert summary.last5 == pytest.approx((0.8 + 0.6 + 0.4 + 0.3 + 0.2) / 5)
    assert not summary.diverged


def test_a_run_before_its_first_evaluation_has_no_accuracies(tmp_path: Path) -> None:
    open_tables(tmp_path / "metrics").close()
    write_json(tmp_path / "scenario.json", {})
    summary = open_run(tmp_path).summary()
    assert summary.final is summary.best is summary.last5 is None


def test_a_diverged_run_says_so_and_its_best_is_a_number(folder: Path) -> None:
    with open_tables(folder / "metrics") as tables:
        tables.rounds.append(round_row(11, train_loss=math.nan, diverged=True))
        tables.evaluations.append(evaluation_row(11, math.nan, loss=math.nan, diverged=True))
    summary = open_run(folder).summary()
    assert summary.diverged and summary.best == 0.8 and summary.final is not None and math.isnan(summary.final)


@pytest.mark.parametrize(
    ("record", "status", "finished"),
    [
        (None, "running", False),
        ({"status": "running"}, "running", False),
        ({"status": "interrupted"}, "interrupted", False),
        ({"status": "finished", "rounds": 10, "digest": "ab"}, "finished", True),
        ({"status": "diverged", "rounds": 10}, "diverged", True),
    ],
)
def test_the_state_is_read_from_run_json(
    folder: Path, record: dict[str, object] | None, status: str, finished: bool
) -> None:
    if record is not None:
        write_json(folder / "run.json", record)
    state = open_run(folder).state
    assert (state.status, state.finished, state.rounds) == (status, finished, 10)
    assert state.digest == (record or {}).get("digest")


def test_a_finished_run_with_fewer_rounds_than_promised_is_damaged(folder: Path) -> None:
    write_json(folder / "run.json", {"status": "finished", "rounds": 12})
    with pytest.raises(RunError, match=r"rounds\.arrow ends at round 10, but the run finished at round 12"):
        open_run(folder)


def test_what_is_no_run_gets_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="does not exist; give the folder of a run"):
        open_run(tmp_path / "absent")
    with pytest.raises(RunError, match="is not a run folder: it has no metrics folder"):
        open_run(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="is not a run folder"):
        open_run(tmp_path / "file")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "is not a whole run folder: scenario.json is missing"),
        ("{", r"scenario\.json is damaged: Expecting property name"),
        ("[1]", r"scenario\.json is damaged: it should hold a JSON object, but holds list"),
        ("[" * 100_000, r"scenario\.json is damaged"),
        ("\udcff", r"scenario\.json is damaged"),
    ],
)
def test_a_missing_or_damaged_scenario_gets_one_sentence(folder: Path, text: str | None, message: str) -> None:
    path = folder / "scenario.json"
    path.unlink()
    if text is not None:
        path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(RunError, match=message) as caught:
        open_run(folder)
    assert "\n" not in str(caught.value)


def test_a_missing_table_and_a_newer_run_get_one_sentence(folder: Path) -> None:
    write_json(folder / "run.json", {"format": 99})
    with pytest.raises(RunError, match="is a run of format 99, newer than this RaySplit reads"):
        open_run(folder)
    (folder / "metrics" / "channels.arrow").unlink()
    with pytest.raises(RunError, match=r"channels\.arrow is missing"):
        open_run(folder)
