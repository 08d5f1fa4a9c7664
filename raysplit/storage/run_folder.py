"""A run's folder on disk: made, locked, marked and found again (docs/design.md, section 7)."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from raysplit.errors import RunError
from raysplit.scenario.scenario import Scenario
from raysplit.storage.atomic import write_bytes, write_json


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
        with locked(folder):
            for name in ("metrics", "checkpoints", "updates", "observations", "inference", "artifacts", "modules"):
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
        raise RunError(
            f"{folder.path} cannot be written ({error.strerror}); choose another folder with --out"
        ) from error


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
    """Raise ``RunError`` where a run of the scenario exists already and is not to be overwritten."""
    if folder.path.exists() and not overwrite:
        state = folder.state()
        if state.get("status") in ("finished", "diverged"):
            raise RunError(
                f"{folder.path} already holds this run, {state['status']}; see it with 'raysplit report "
                f"{folder.path}' or repeat it with --overwrite"
            )
        raise RunError(
            f"{folder.path} holds this run unfinished (round {state.get('rounds', 0)} of {scenario.training.rounds}); "
            f"go on with {_how_to_go_on(folder)} or start again with --overwrite"
        )


def _how_to_go_on(folder: RunFolder) -> str:
    """A run with a scenario file can be resumed from the command line, one of ``raysplit.run`` from Python."""
    return f"'raysplit resume {folder.path}'" if folder.source.exists() else "raysplit.run in Python"


@contextmanager
def locked(folder: RunFolder) -> Iterator[None]:
    """Hold a run folder for this process. Raises ``RunError`` where another process holds it; a killed one does not."""
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        file = open(folder.path / ".lock", "w")  # noqa: SIM115 - opening it may fail in another way than locking it
    except OSError as error:
        raise RunError(f"{folder.path} cannot be written ({error.strerror}); check its disk and permissions") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RunError(f"{folder.path} is being written by another process; wait for it or stop it first") from None
        yield


def _json(path: Path, missing_ok: bool = False) -> dict[str, Any]:
    try:
        form = json.loads(path.read_text())
    except FileNotFoundError:
        if missing_ok:
            return {}
        raise RunError(f"{path.parent} is not a run folder: it has no {path.name}") from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path} is damaged ({error}); restore it, or start the run again with --overwrite") from error
    if not isinstance(form, dict):
        raise RunError(f"{path} is damaged (it is no JSON object); restore it, or start the run again with --overwrite")
    return form
