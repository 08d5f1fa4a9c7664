"""Where files from a cluster land: checked paths, pieces that go on where they broke off, sha256 of every file, and
each run in its place at once or not at all."""

from __future__ import annotations

import base64
import binascii
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from safetensors import SafetensorError
from safetensors.torch import load

from raysplit.app.running.events import Event
from raysplit.engine.node_files import sha256_of
from raysplit.errors import RunError
from raysplit.models.flat import digest
from raysplit.storage.checkpoints import newest_checkpoint
from raysplit.storage.run_folder import RunFolder

LONGEST_REQUEST = 200
"""Files that one reader is asked for: a shell takes a command of 128 kB."""


@dataclass(frozen=True)
class RemoteFile:
    """A file under a job's folder on the cluster: ``path`` relative to that, with ``/``."""

    path: str
    size: int
    sha256: str


def remote_file(event: Event) -> RemoteFile:
    """A file as the cluster names it. Raises ``RunError`` for a path that would leave the folder which it lands in, and
    for what is no file's description."""
    path, size, sha256 = event.get("path"), event.get("size"), event.get("sha256")
    if not isinstance(path, str) or not isinstance(size, int) or size < 0 or not isinstance(sha256, str):
        raise RunError(f"the cluster describes a file in a way that is not understood ({event!r:.100})")
    parts = path.split("/")
    if any(part in ("", ".", "..") or part.startswith(".") for part in parts) or set(path) & set("\\\0\n"):
        raise RunError(
            f"the cluster names a file {path!r:.100}, which does not lie in the job's folder; nothing is taken"
        )
    assert not PurePosixPath(path).is_absolute()
    return RemoteFile(path, size, sha256)


class Landing:
    """A folder that files are gathered in until all are there and right."""

    def __init__(self, folder: Path, files: Sequence[RemoteFile]) -> None:
        self.folder = folder
        self.files = {file.path: file for file in files}
        self._numbers = {file.path: number for number, file in enumerate(files)}
        self._whole: set[str] = set()
        for left in sorted(folder.rglob("*"), reverse=True):
            if left.is_file() and left.relative_to(folder).as_posix() not in self.files:
                left.unlink()  # of an earlier fetch; on the cluster it is gone since

    def missing(self) -> list[RemoteFile]:
        """Files that are not here whole. One that has all of its bytes but another sha256 is removed: it changed on the
        cluster since, or was damaged on its way."""
        found = []
        for file in self.files.values():
            if file.path in self._whole:
                continue
            have = self.begun(file)
            if (self.folder / file.path).is_file() and have >= file.size:
                if sha256_of(self.folder / file.path) == file.sha256:
                    self._whole.add(file.path)
                    continue
                (self.folder / file.path).unlink()
            found.append(file)
        return found

    def begun(self, file: RemoteFile) -> int:
        """Bytes of a file that are here."""
        place = self.folder / file.path
        return place.stat().st_size if place.is_file() else 0

    def request(self, missing: Sequence[RemoteFile]) -> str:
        """What a reader is asked for: the numbers of files, each from the byte on that is missing."""
        entries = []
        for file in missing[:LONGEST_REQUEST]:
            place, start = self.folder / file.path, self.begun(file)
            entries.append(f"{self._numbers[file.path]}@{start}" if start else f"{self._numbers[file.path]}")
            if file.size == 0:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.touch()
        return ",".join(entries)

    def take(self, event: Event) -> int:
        """Write one piece, and say how many bytes it had. Raises ``RunError`` where it is none of what was asked for."""
        path, at = event.get("path"), event.get("at")
        file = self.files.get(path) if isinstance(path, str) else None
        try:
            data = base64.b64decode(str(event.get("data")), validate=True)
        except binascii.Error as error:
            raise RunError(
                f"a piece of {path} came damaged ({error}); fetch again, which goes on from there"
            ) from error
        if file is None or not isinstance(at, int):
            raise RunError(f"the cluster sent a piece of {path!r:.100}, which nobody asked for; fetch again")
        place = self.folder / file.path
        place.parent.mkdir(parents=True, exist_ok=True)
        if at != self.begun(file) or at + len(data) > file.size:
            raise RunError(f"a piece of {path} came out of order or is too long; fetch again, which goes on from there")
        with open(place, "ab") as open_file:
            open_file.write(data)
        return len(data)

    def settle(self, out: Path, overwrite: bool) -> list[Path]:
        """Move what has come into ``out``, each run and report at once. Raises ``RunError``, before the first is moved,
        where a model has not the digest that its run.json gives, or a place is taken."""
        names = sorted({path.split("/")[0] for path in self.files})
        for name in names:
            check_digest(self.folder / name)
            if (out / name / "run.json").exists() and not overwrite:
                raise RunError(
                    f"{out / name} is there already; add --overwrite to replace it, or name another folder with --out"
                )
        placed = []
        for name in names:
            _replace(self.folder / name, out / name)
            placed.append(out / name)
        shutil.rmtree(self.folder, ignore_errors=True)
        return placed


def check_digest(folder: Path) -> None:
    """Raise ``RunError`` where a run's newest model has not the digest that its run.json gives; nothing where there is
    none to compare."""
    run = RunFolder(folder)
    newest = newest_checkpoint(run.checkpoints) if run.checkpoints.is_dir() else None
    if newest is None:
        return
    try:
        model = load((newest / "model.safetensors").read_bytes())
        clients = newest / "clients.safetensors"
        found = digest({**model, **(load(clients.read_bytes()) if clients.exists() else {})})
        said = json.loads((newest / "state.json").read_text())
    except (OSError, ValueError, SafetensorError) as error:
        raise RunError(f"{newest} came damaged ({error}); fetch again") from error
    state = run.state()
    expected = {said.get("digest")} | ({state["digest"]} if "digest" in state else set())
    if expected != {found}:
        raise RunError(
            f"the model of {folder.name} has the digest {found[:16]}, but its run says "
            f"{' and '.join(sorted(str(mark)[:16] for mark in expected))}; fetch again, or look at the run on the cluster"
        )


def _replace(source: Path, target: Path) -> None:
    """Put a folder or file in its place; one that was there before goes when the new one stands."""
    if not target.is_dir():
        os.replace(source, target)
        return
    aside = target.with_name(f".{target.name}.replaced")
    shutil.rmtree(aside, ignore_errors=True)
    os.rename(target, aside)
    os.rename(source, target)
    shutil.rmtree(aside, ignore_errors=True)
