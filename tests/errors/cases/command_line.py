"""Options and arguments of the command line."""

from __future__ import annotations

from pathlib import Path

from tests.errors.making import CASES, TINY, case, optioned, scenario

optioned("set-form", "--set", "training.lr")
optioned("set-field", "--set", "training.learning=0.1")
optioned("set-part", "--set", "seed.value=1")
optioned("set-type", "--set", "training.rounds=many")
optioned("set-twice", "--set", "seed=1", "--set", "seed=2")
optioned("set-part-name", "--set", "attack=SignFlop(scale=10.0)")
optioned("set-part-positional", "--set", "attack=SignFlip(10.0)")
optioned("set-part-option", "--set", "attack=SignFlip(size=1)")
optioned("only-unknown", "--only", "tinny")
optioned("only-pattern", "--only", "v*")
optioned("option-unknown", "--host", "2")
optioned("option-value", "--hosts", "two")


@case
def sweep_jobs_ray(here: Path) -> list[str]:
    scenario(here, TINY)
    return ["sweep", "tiny.py", "--jobs", "2", "--engine", "ray"]


CASES["option-engine"] = lambda here: scenario(here, TINY, engine="spark")
CASES["command-unknown"] = lambda here: ["runn", "tiny.py"]
CASES["report-nothing"] = lambda here: ["report", "nowhere"]


@case
def report_no_run(here: Path) -> list[str]:
    (here / "photos").mkdir()
    return ["report", "photos"]


@case
def out_is_a_file(here: Path) -> list[str]:
    (here / "runs").write_text("notes")
    return scenario(here, TINY)
