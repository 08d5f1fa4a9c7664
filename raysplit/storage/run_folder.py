"""A run's folder on disk: made, locked, marked and found again (docs/design.md, section 7)."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from raysplit.errors import RunError
from raysplit.scenario.scenario import Scenario
from raysplit.storage.atomic import write_bytes, write_json
from raysplit.storage.lock import locked, writer_of
from raysplit.storage.tables import read_table


@dataclass(frozen=True)
class RunFolder:
    """``runs/<name>-<hash>``: where one scenario's run writes."""

    path: Path

    @property
    def metrics(self) -> Path:
        return self.path / "metrics"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def updates(self) -> Path:
        return self.path / "updates"

    @property
    def observations(self) -> Path:
        return self.path / "observations"

    @property
    def inference(self) -> Path:
        """What ``raysplit infer`` made of the run."""
        return self.path / "inference"

    @property
    def certification(self) -> Path:
        """What ``raysplit certify`` found of its predictions."""
        return self.path / "certification"

    @property
    def source(self) -> Path:
        return self.path / "scenario.py"

    @property
    def modules(self) -> Path:
        """Where the modules lie that ``scenario.py`` imports; missing where it imports none of the user's own."""
        return self.path / "modules"

    def mark(self, status: str, **facts: Any) -> None:
        """Write run.json: ``running``, ``finished``, ``interrupted`` or ``diverged``, and what is known by then."""
        write_json(self.path / "run.json", {"status": status, "updated": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **facts})

    def state(self) -> dict[str, Any]:
        """run.json, or {} where there is none yet. Raises ``RunError`` if it is damaged."""
        return _json(self.path / "run.json", missing_ok=True)

    def rounds_done(self) -> int:
        """Rounds that are in the tables, also while the run goes on or after it was killed; 0 where they are damaged."""
        try:
            return int(max(read_table(self.metrics / "rounds.arrow").column("round").to_pylist(), default=0))
        except RunError:
            return 0


def folder_for(scenario: Scenario, out: Path) -> RunFolder:
    """Where a scenario's run belongs under ``out``."""
    return RunFolder(out / f"{scenario.name}-{scenario.hash}")


def create(
    folder: RunFolder, scenario: Scenario, files: Mapping[str, bytes], origin: dict[str, Any], overwrite: bool
) -> None:
    """Make a fresh run folder with its scenario in it. Raises ``RunError`` where a run of the scenario exists already.

    ``files``: the scenario file and the modules that it imports, by their paths in the folder (``own_files``).
    """
    check_free(folder, scenario, overwrite)
    fresh = not folder.path.exists()
    if not fresh:
        with locked(folder.path):
            written = ("metrics", "checkpoints", "updates", "observations", "inference", "certification", "artifacts")
            for name in (*written, "modules"):
                shutil.rmtree(folder.path / name, ignore_errors=True)
            for name in ("run.json", "report.html"):
                (folder.path / name).unlink(missing_ok=True)
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        if not files:  # started from Python
            folder.source.unlink(missing_ok=True)
        for name, data in files.items():
            (folder.path / name).parent.mkdir(parents=True, exist_ok=True)
            write_bytes(folder.path / name, data)
        write_json(folder.path / "scenario.json", scenario.to_json())
        write_json(folder.path / "origin.json", {"hash": scenario.hash, **origin})
        write_json(folder.path / "environment.json", environment())
    except OSError as error:
        if fresh:
            shutil.rmtree(folder.path, ignore_errors=True)
        raise not_written(folder, error) from error


def not_written(folder: RunFolder, error: OSError) -> RunError:
    """What is said of a run that could not even begin."""
    return RunError(f"{folder.path} cannot be written ({error.strerror}); choose another folder with --out")


def environment() -> dict[str, Any]:
    """The machine and the versions that a run's bits depend on."""
    packages = {}
    for name in ("raysplit", "torch", "numpy", "ray", "pyarrow", "pandas"):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = "not installed"
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "packages": packages,
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor()


def origin_of(folder: RunFolder) -> dict[str, Any]:
    """How a run's scenario came about: which of the file's scenarios, and which overrides. Raises ``RunError``."""
    form = _json(folder.path / "origin.json")
    if not all(isinstance(form.get(key), kind) for key, kind in (("hash", str), ("scenario", str), ("set", list))):
        raise RunError(
            f"{folder.path}/origin.json is damaged (it lacks hash, scenario or set); start the run again with "
            "--overwrite"
        )
    return form


def check_free(folder: RunFolder, scenario: Scenario, overwrite: bool) -> None:
    """Raise ``RunError`` where another process writes a run of the scenario, or one exists already and is not to be
    overwritten."""
    if not folder.path.exists():
        return
    writer = writer_of(folder.path)
    at = f"round {folder.rounds_done()} of {scenario.training.rounds}"
    if writer is not None:
        raise RunError(f"{folder.path} is being written by {writer}, at {at}; wait for it or stop it first")
    if overwrite:
        return
    state = folder.state()
    if state.get("status") in ("finished", "diverged"):
        raise RunError(
            f"{folder.path} already holds this run, {state['status']}; see it with 'raysplit report "
            f"{folder.path}' or repeat it with --overwrite"
        )
    raise RunError(
        f"{folder.path} holds this run unfinished ({at}); go on with {_how_to_go_on(folder)} or start again with "
        "--overwrite"
    )


def _how_to_go_on(folder: RunFolder) -> str:
    """A run with a scenario file can be resumed from the command line, one of ``raysplit.run`` from Python."""
    return f"'raysplit resume {folder.path}'" if folder.source.exists() else "raysplit.run in Python"


def _json(path: Path, missing_ok: bool = False) -> dict[str, Any]:
    try:
        form = json.loads(path.read_text())
    except FileNotFoundError:
        if missing_ok:
            return {}
        raise RunError(f"{path.parent} is not a run folder: it has no {path.name}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} is damaged ({error}); restore it, or start the run again with --overwrite") from error
    if not isinstance(form, dict):
        raise RunError(f"{path} is damaged (it is no JSON object); restore it, or start the run again with --overwrite")
    return form
