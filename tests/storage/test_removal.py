"""``raysplit remove`` and ``clean``: what they delete, and all that they do not."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

import raysplit
from raysplit.app.cli import main
from raysplit.errors import RunError
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.storage.checkpoints import holds_memory, is_whole, newest_checkpoint
from raysplit.storage.lock import locked, writer_of
from raysplit.storage.removal import Leftover, delete, leftovers, run_to_remove
from raysplit.storage.run_folder import RunFolder
from raysplit.training.optimizers import Adam
from tests.toys import toy

TOY = toy(SplitFedV2(), training__rounds=3, training__optimizer=Adam(), checkpoint_every=1)


def stop(after: int):
    def watch(report: object) -> None:
        if report.round == after:
            raise KeyboardInterrupt

    return watch


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A finished run that kept its state, one stopped in round 2, and one stopped before its first round was over."""
    out = tmp_path / "runs"
    raysplit.run(TOY, out=out, keep_state=True)
    with pytest.raises(KeyboardInterrupt):
        raysplit.run(TOY.replace(seed=1), out=out, on_round=stop(2))
    folder = raysplit.run(TOY.replace(seed=2, checkpoint_every=50), out=out).path
    for entry in (folder / "checkpoints").iterdir():
        for file in entry.iterdir():
            file.unlink()
        entry.rmdir()
    (folder / "run.json").unlink()
    for table in (folder / "metrics").iterdir():
        table.unlink()
    return out


def of_seed(runs: Path, seed: int) -> Path:
    return runs / f"toy-{TOY.replace(seed=seed, checkpoint_every=50 if seed == 2 else 1).hash}"


def names(found: list[Leftover]) -> set[str]:
    return {leftover.path.name for leftover in found}


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["raysplit", *arguments])
    try:
        main()
    except SystemExit as left:
        return int(left.code or 0)
    return 0


def test_a_run_is_removed_whole_and_its_neighbours_stay(runs: Path) -> None:
    finished = of_seed(runs, TOY.seed)
    others = {path.name for path in runs.iterdir()} - {finished.name}
    delete(run_to_remove(finished))
    assert {path.name for path in runs.iterdir()} == others


def test_nothing_is_removed_that_no_run_has_written(runs: Path, tmp_path: Path) -> None:
    finished = of_seed(runs, TOY.seed)
    (tmp_path / "link").symlink_to(finished)
    with pytest.raises(RunError, match="is a link"):
        run_to_remove(tmp_path / "link")
    for folder in (runs, tmp_path, finished / "metrics"):
        with pytest.raises(RunError, match=r"is not a run folder: it lacks scenario.json and origin.json"):
            run_to_remove(folder)
    (finished / "notes.md").write_text("mine")
    with pytest.raises(RunError, match=r"holds 'notes.md', which no run writes"):
        run_to_remove(finished)
    with locked(of_seed(runs, 1)), pytest.raises(RunError, match=f"is being written by process {os.getpid()} on "):
        run_to_remove(of_seed(runs, 1))


def test_a_run_that_was_resumed_since_it_was_listed_stays(runs: Path) -> None:
    listed = run_to_remove(of_seed(runs, 1))
    raysplit.run(TOY.replace(seed=1), out=runs)
    with pytest.raises(RunError, match="was written since it was listed"):
        delete(listed)
    assert raysplit.open_run(listed.path).state.finished


def test_clean_finds_what_was_half_written_and_runs_without_a_round(runs: Path) -> None:
    finished, stopped, empty = (of_seed(runs, seed) for seed in (TOY.seed, 1, 2))
    assert names(leftovers(runs)) == {empty.name}
    assert names(leftovers(runs, unfinished=True)) == {stopped.name, empty.name}
    (finished / ".run.json.0123abcd.tmp").write_text("{")
    (stopped / "checkpoints" / ".round-000003.part").mkdir()
    (runs / ".toy-0123456789.removed").mkdir()
    (runs / ".report.html.0123abcd.tmp").write_text("fresh, so somebody may be writing it")
    (runs / ".mine.tmp").write_text("of somebody else")
    half = {".run.json.0123abcd.tmp", ".round-000003.part", ".toy-0123456789.removed"}
    found = leftovers(runs)
    assert names(found) == {empty.name, *half}
    with locked(finished):
        assert names(leftovers(runs)) == {empty.name, *half} - {".run.json.0123abcd.tmp"}
    for leftover in found:
        delete(leftover)
    assert leftovers(runs) == []
    assert {path.name for path in runs.iterdir()} == {
        finished.name,
        stopped.name,
        ".report.html.0123abcd.tmp",
        ".mine.tmp",
    }
    raysplit.run(TOY.replace(seed=1), out=runs)  # what was stopped goes on as if nothing had been deleted


def test_clean_can_take_from_finished_runs_all_but_the_model(runs: Path) -> None:
    folder = RunFolder(of_seed(runs, TOY.seed))
    before = raysplit.open_run(folder.path).rounds
    newest = newest_checkpoint(folder.checkpoints)
    assert newest is not None and is_whole(newest) and holds_memory(newest)
    [found] = [leftover for leftover in leftovers(runs, state=True) if leftover.memory_only]
    assert found.path == folder.path and found.size > 0
    delete(found)
    assert list(folder.checkpoints.iterdir()) == [newest] and not is_whole(newest)
    assert raysplit.open_run(folder.path).rounds.equals(before)
    assert not [leftover for leftover in leftovers(runs, state=True) if leftover.memory_only]


def test_the_commands_list_first_and_delete_only_when_told(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    finished, empty = of_seed(runs, TOY.seed), of_seed(runs, 2)
    for arguments in (["remove", str(finished)], ["clean", str(runs)]):
        assert command(monkeypatch, *arguments) == 2
        said = capfd.readouterr()
        assert str(finished if arguments[0] == "remove" else empty) in said.out
        assert said.err == (
            "raysplit: nothing was deleted, as nobody can be asked here; add --yes to delete what is listed\n"
        )
    assert finished.is_dir() and empty.is_dir()
    assert command(monkeypatch, "remove", str(finished), str(runs), "--yes") == 2
    assert finished.is_dir(), "one of them is no run, so none is removed"
    assert command(monkeypatch, "remove", str(finished), "--yes") == 0 and not finished.exists()
    assert command(monkeypatch, "clean", str(runs), "--yes") == 0 and not empty.exists()
    assert command(monkeypatch, "clean", str(runs)) == 0
    assert capfd.readouterr().out.endswith("Nothing to delete.\n")


def test_a_lock_says_who_holds_it_and_nobody_once_it_is_free(tmp_path: Path) -> None:
    assert writer_of(tmp_path) is None
    with locked(tmp_path):
        assert str(writer_of(tmp_path)).startswith(f"process {os.getpid()} on ")
        with pytest.raises(RunError, match=rf"is being written by process {os.getpid()} on .*; wait for it or stop it"):
            locked(tmp_path).__enter__()
        assert str(writer_of(tmp_path)).startswith(f"process {os.getpid()} on ")
    assert writer_of(tmp_path) is None
