"""Runs that exist, are unfinished, damaged or were told to go on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from tests.errors.making import CASES, FINISHED, TINY, UNFINISHED, case, damage, resume, stands


@case
def run_finished(here: Path) -> list[str]:
    stands(here, FINISHED)
    return ["run", "tiny.py", "--engine", "local"]


@case
def run_unfinished(here: Path) -> list[str]:
    stands(here, UNFINISHED)
    return ["run", "tiny.py", "--engine", "local"]


@case
def overwrite_without_gpu(here: Path) -> list[str]:
    """What cannot run must not cost the run that stands."""
    stands(here, FINISHED)
    return ["run", "tiny.py", "--overwrite", "--engine", "ray", "--gpus-per-host", "1"]


CASES["resume-nothing"] = lambda here: resume(Path("runs/tiny-0000000000"))


@case
def resume_no_run(here: Path) -> list[str]:
    (here / "photos").mkdir()
    return resume(Path("photos"))


CASES["resume-finished"] = lambda here: resume(stands(here, FINISHED))


def more_rounds(run: Path, rounds: int = 5) -> list[str]:
    return [*resume(run), "--rounds", str(rounds)]


CASES["more-rounds-fewer"] = lambda here: more_rounds(stands(here, FINISHED), 3)
CASES["more-rounds-unfinished"] = lambda here: more_rounds(stands(here, UNFINISHED))


@case
def more_rounds_diverged(here: Path) -> list[str]:
    run = stands(here, FINISHED)
    edit_json(here / run / "run.json", status="diverged", rounds=2)
    return more_rounds(run)


@case
def more_rounds_model_only(here: Path) -> list[str]:
    run = stands(here, FINISHED)
    edit_json(here / run / "checkpoints" / "round-000003" / "state.json", format=4)
    return more_rounds(run)


def edit_json(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


CASES["remove-nothing"] = lambda here: ["remove", "runs/tiny-0000000000", "--yes"]


@case
def remove_no_run(here: Path) -> list[str]:
    """The run beside it stays as well."""
    (here / "photos").mkdir()
    return ["remove", str(stands(here, FINISHED)), "photos", "--yes"]


@case
def remove_foreign(here: Path) -> list[str]:
    run = stands(here, FINISHED)
    (here / run / "notes.md").write_text("what I saw")
    return ["remove", str(run), "--yes"]


@case
def remove_link(here: Path) -> list[str]:
    (here / "best").symlink_to(stands(here, FINISHED))
    return ["remove", "best", "--yes"]


CASES["remove-unasked"] = lambda here: ["remove", str(stands(here, FINISHED))]
CASES["clean-nowhere"] = lambda here: ["clean", "nowhere", "--yes"]


@case
def resume_changed(here: Path) -> list[str]:
    run = stands(here, UNFINISHED)
    (here / run / "scenario.py").write_text(TINY.replace("lr=0.05", "lr=0.04"))
    return resume(run)


@case
def resume_renamed(here: Path) -> list[str]:
    run = stands(here, UNFINISHED)
    (here / run / "scenario.py").write_text(TINY.replace('name="tiny"', 'name="small"'))
    return resume(run)


@case
def resume_no_scenario(here: Path) -> list[str]:
    run = stands(here, UNFINISHED)
    (here / run / "scenario.py").unlink()
    return resume(run)


def from_python(here: Path) -> Path:
    """An unfinished run as ``raysplit.run`` leaves it: no scenario file."""
    run = stands(here, UNFINISHED)
    (here / run / "scenario.py").unlink()
    origin = json.loads((here / run / "origin.json").read_text())
    (here / run / "origin.json").write_text(json.dumps({**origin, "file": None}))
    return run


CASES["resume-python"] = lambda here: resume(from_python(here))


@case
def run_unfinished_python(here: Path) -> list[str]:
    from_python(here)
    return ["run", "tiny.py", "--engine", "local"]


@case
def checkpoint_corrupt(here: Path) -> list[str]:
    run = stands(here, UNFINISHED)
    damage(here / run / "checkpoints" / "round-000002" / "model.safetensors", 0.5)
    return resume(run)


@case
def checkpoint_record(here: Path) -> list[str]:
    run = stands(here, UNFINISHED)
    file = here / run / "checkpoints" / "round-000002" / "state.json"
    file.write_bytes(file.read_bytes()[:40])
    return resume(run)


@case
def checkpoint_newer(here: Path) -> list[str]:
    run = stands(here, UNFINISHED)
    file = here / run / "checkpoints" / "round-000002" / "state.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "format": 99}))
    return resume(run)


@case
def checkpoint_model_only(here: Path) -> list[str]:
    run = stands(here, UNFINISHED)
    edit_json(here / run / "checkpoints" / "round-000002" / "state.json", format=4)
    return resume(run)


@case
def checkpoint_foreign(here: Path) -> list[str]:
    run = stands(here, UNFINISHED)
    file = here / run / "checkpoints" / "round-000002" / "state.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "scenario": "0123456789"}))
    return resume(run)


@case
def origin_truncated(here: Path) -> list[str]:
    run = stands(here, UNFINISHED)
    file = here / run / "origin.json"
    file.write_bytes(file.read_bytes()[:20])
    return resume(run)


@case
def origin_lacking(here: Path) -> list[str]:
    run = stands(here, UNFINISHED)
    (here / run / "origin.json").write_text("{}")
    return resume(run)


@case
def state_damaged(here: Path) -> list[str]:
    run = stands(here, UNFINISHED)
    (here / run / "run.json").write_text("{")
    return resume(run)


@case
def state_binary(here: Path) -> list[str]:
    run = stands(here, UNFINISHED)
    (here / run / "run.json").write_bytes(b"\xff\xfe{}")
    return ["report", str(run)]


@case
def table_damaged(here: Path) -> list[str]:
    run = stands(here, UNFINISHED)
    damage(here / run / "metrics" / "clients.arrow", 0.6)
    return resume(run)


@case
def table_damaged_report(here: Path) -> list[str]:
    run = stands(here, FINISHED)
    damage(here / run / "metrics" / "clients.arrow", 0.6)
    return ["report", str(run)]


@case
def table_missing(here: Path) -> list[str]:
    run = stands(here, FINISHED)
    (here / run / "metrics" / "rounds.arrow").unlink()
    return ["report", str(run)]


@case
def table_short(here: Path) -> list[str]:
    run = stands(here, UNFINISHED)
    shutil.copy(here.parent / FINISHED / "empty.arrow", here / run / "metrics" / "rounds.arrow")
    return resume(run)
