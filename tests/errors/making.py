"""How a wrong input of docs/errors.md is made.

A case is a function that is given an empty working folder ``here`` and returns the arguments after ``raysplit``. Its
name is its row in docs/errors.md, which holds the sentence that must come back.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from raysplit.population.arrow_writer import ClientData, write_population

TINY = """\
from raysplit import *

scenario = Scenario(
    name="tiny",
    population=synthetic_writers(writers=20, mean_samples=30, sd_samples=5),
    model=femnist_cnn(cut="V2"),
    protocol=SplitFedV2(),
    cohort=Cohort(size=4, malicious=0.25),
    training=Training(rounds=3, lr=0.05),
    evaluation=Evaluation(clients=5),
)
"""

Case = Callable[[Path], list[str]]
CASES: dict[str, Case] = {}
FINISHED = "finished-run"
UNFINISHED = "unfinished-run"
"""Folders beside ``here`` in which a run of ``TINY`` is finished, and one interrupted after its second round."""


def case(make: Case) -> Case:
    CASES[make.__name__.replace("_", "-")] = make
    return make


def edited(name: str, old: str, new: str, *options: str) -> None:
    """A case that is ``TINY`` with ``old`` replaced by ``new``."""
    assert TINY.count(old) == 1, old

    def make(here: Path) -> list[str]:
        return scenario(here, TINY.replace(old, new), *options)

    CASES[name] = make


def optioned(name: str, *options: str, engine: str = "local") -> None:
    """A case that is ``TINY`` with wrong options on the command line."""
    CASES[name] = lambda here: scenario(here, TINY, *options, engine=engine)


def scenario(here: Path, text: str, *options: str, engine: str = "local") -> list[str]:
    (here / "tiny.py").write_text(text)
    return ["run", "tiny.py", "--engine", engine, *options]


def stands(here: Path, kind: str) -> Path:
    """Put a run of ``TINY`` under ``here``; its folder relative to ``here``."""
    shutil.copytree(here.parent / kind, here, dirs_exist_ok=True)
    (run,) = (path for path in (here / "runs").iterdir() if path.is_dir())
    return run.relative_to(here)


def resume(run: Path) -> list[str]:
    return ["resume", str(run), "--engine", "local"]


def population(here: Path, shape: tuple[int, int, int] = (1, 28, 28), classes: int = 62) -> Path:
    """A small population file under ``here``."""
    pixels = np.zeros((3, *shape), dtype=np.uint8)
    labels = np.zeros(3, dtype=np.int64)
    clients = [ClientData(f"w{n}", pixels, labels, pixels[:1], labels[:1]) for n in range(20)]
    write_population(here / "letters.arrow", clients, name="letters", shape=shape, classes=classes)
    return here / "letters.arrow"


def on_file(here: Path) -> list[str]:
    return scenario(
        here, TINY.replace("synthetic_writers(writers=20, mean_samples=30, sd_samples=5)", 'ArrowFile("letters.arrow")')
    )


def damage(path: Path, at: float) -> None:
    """Turn 16 bytes over, at a share of the file."""
    data = bytearray(path.read_bytes())
    start = int(len(data) * at)
    data[start : start + 16] = bytes(255 - byte for byte in data[start : start + 16])
    path.write_bytes(bytes(data))
