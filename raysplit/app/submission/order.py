"""What is submitted: the scenarios of a file, how to play them, and what they must be when they arrive."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from raysplit.app.running.engine_choice import EngineChoice
from raysplit.scenario.scenario import Scenario

FOLDER, FILE = "submitted", "order.json"
"""In what is uploaded: beside the package ``raysplit``."""


@dataclass(frozen=True)
class Order:
    """``job``: its name, the same whenever the same is submitted. ``file``: the scenario file's name. ``scenarios``:
    hash by name. ``versions``: what is installed where it was submitted."""

    job: str
    file: str
    scenarios: dict[str, str]
    sets: list[str]
    only: list[str] | None
    sweep: bool
    keep_state: bool
    choice: EngineChoice
    store: str
    versions: dict[str, str]

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, sort_keys=True)

    @staticmethod
    def from_json(text: str) -> Order:
        form: dict[str, Any] = json.loads(text)
        return Order(**{**form, "choice": EngineChoice(**form["choice"])})

    @property
    def folder(self) -> Path:
        """Where this job's runs and reports lie on the cluster."""
        return runs_folder(self.store, self.job)


def runs_folder(store: str, job: str) -> Path:
    return Path(store).expanduser() / job / "runs"


def job_name(file: Path, scenarios: Sequence[Scenario], sweep: bool) -> str:
    """``<file>-<8 hex digits>`` of what is computed: whoever submits it again goes on with the same job."""
    marks = json.dumps([sweep, sorted([scenario.name, scenario.hash] for scenario in scenarios)])
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", file.stem).strip("-")[:40] or "scenario"
    return f"{stem}-{hashlib.sha256(marks.encode()).hexdigest()[:8]}"
