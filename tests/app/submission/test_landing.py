"""What comes from a cluster stays in its folder, goes on where it broke off, and is what the cluster says it is. The
reader is the real one, in a process of its own, in place of a job on a cluster's head."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raysplit import SplitFedV2, run
from raysplit.app.submission import reader
from raysplit.app.submission.attempts import metadata, named
from raysplit.app.submission.entry import ENTRYPOINT
from raysplit.app.submission.fetch import fetch
from raysplit.app.submission.landing import Landing, RemoteFile, remote_file
from raysplit.engine.ray.jobs import RayJob
from raysplit.errors import ClusterError, RunError
from tests.toys import toy


class Head:
    """A cluster with one ended job, and readers that are processes here; ``breaks``: lines after which one is lost."""

    def __init__(self, store: Path, logs: Path, job: str = "toy-12345678", status: str = "SUCCEEDED") -> None:
        self.jobs = [RayJob("1", status, "", metadata(job, 1, str(store), "toy.py", 1), 0.0)]
        self.logs = logs
        self.breaks: int | None = None
        self.readers: dict[str, subprocess.Popen[bytes]] = {}
        self.printed = 0

    def submit(self, id: str, entrypoint: str, metadata: dict[str, str]) -> None:
        assert entrypoint.startswith(ENTRYPOINT)
        entrypoint = f"exec {shlex.quote(sys.executable)} {entrypoint.removeprefix(ENTRYPOINT)}"
        with open(self.logs / id, "ab") as log:
            self.readers[id] = subprocess.Popen(["/bin/sh", "-c", entrypoint], stdout=log, stderr=log)

    def log(self, id: str) -> Iterator[str]:
        with open(self.logs / id) as log:
            lines = 0
            left = ""
            while True:
                left += log.readline()
                if not left.endswith("\n"):
                    continue
                self.printed += len(left)
                if self.breaks is not None and lines >= self.breaks:
                    raise ClusterError("the network is gone")
                yield left.removesuffix("\n")
                lines, left = lines + 1, ""

    def stop(self, id: str) -> None:
        self.readers[id].send_signal(signal.SIGTERM)
        assert self.readers[id].wait(timeout=10) == 0

    def brought(self, out: Path, overwrite: bool = False) -> list[Path]:
        job = self.jobs[0].metadata["raysplit_job"]
        attempt = named(job, self.jobs, "http://head:8265")
        return fetch(attempt, self, out, overwrite, lambda here, total: None)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a finished run of a toy in it."""
    store = tmp_path_factory.mktemp("store")
    run(toy(SplitFedV2()), out=store / "toy-12345678" / "runs", engine="local")
    return store


@pytest.fixture
def head(played: Path, tmp_path: Path) -> Head:
    (tmp_path / "logs").mkdir()
    return Head(played, tmp_path / "logs")


def content(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def test_every_file_comes_and_nothing_stays_of_the_way(head: Head, played: Path, tmp_path: Path) -> None:
    [placed] = head.brought(tmp_path / "runs")
    assert content(tmp_path / "runs") == content(played / "toy-12345678" / "runs") and placed.name.startswith("toy-")
    assert os.listdir(tmp_path / "runs") == [placed.name]
    assert all(log.stat().st_size == 0 for log in (tmp_path / "logs").iterdir()), "readers wipe what they printed"


def test_a_fetch_that_broke_goes_on_with_the_byte_after_the_last(
    head: Head, played: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = played / "toy-12345678" / "runs"
    monkeypatch.setattr(reader, "__file__", str(tmp_path / "small.py"))
    (tmp_path / "small.py").write_text(Path(reader.__spec__.origin or "").read_text().replace("96 * 1024", "100"))
    [(_, size)] = [(path, len(data)) for path, data in content(source).items() if path.endswith("rounds.arrow")]
    head.breaks = len(content(source)) + 1  # the list comes whole, of the pieces a few
    with pytest.raises(ClusterError, match="network"):
        head.brought(tmp_path / "runs")
    here = sum(len(data) for data in content(tmp_path / "runs" / ".fetch-toy-12345678").values())
    assert 100 < here < sum(map(len, content(source).values())) and size and not list((tmp_path / "runs").glob("toy-*"))
    head.breaks, taken = None, []
    whole = Landing.take
    monkeypatch.setattr(Landing, "take", lambda self, event: (taken.append(n := whole(self, event)), n)[1])
    head.brought(tmp_path / "runs")
    assert here + sum(taken) == sum(map(len, content(source).values())) and content(tmp_path / "runs") == content(
        source
    )


def test_a_reader_prints_no_more_than_its_quota_and_the_next_one_goes_on(
    head: Head, played: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raysplit.app.submission.fetch.QUOTA", 30_000)
    head.brought(tmp_path / "runs")
    assert len(head.readers) > 2 and content(tmp_path / "runs") == content(played / "toy-12345678" / "runs")


def test_what_is_here_is_replaced_only_when_asked(head: Head, tmp_path: Path) -> None:
    [placed] = head.brought(tmp_path / "runs")
    (placed / "mine.txt").write_text("a note")
    with pytest.raises(RunError, match="is there already; add --overwrite"):
        head.brought(tmp_path / "runs")
    assert (placed / "mine.txt").exists()
    head.brought(tmp_path / "runs", overwrite=True)
    assert not (placed / "mine.txt").exists() and os.listdir(tmp_path / "runs") == [placed.name]


def test_links_and_half_written_files_stay_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "runs" / ".round-1.part").mkdir(parents=True)
    for name in (".lock", "a.txt", ".round-1.part/b.txt"):
        (tmp_path / "runs" / name).write_text("x")
    (tmp_path / "secret").write_text("s")
    (tmp_path / "runs" / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "runs" / "folder").symlink_to(tmp_path)
    assert reader.files_under(str(tmp_path / "runs")) == [("a.txt", 1)]


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../x", "a/../../x", "a//b", "", ".", "a/.", ".ssh/keys", "a\\b", "a\0b", 7, None]
)
def test_a_path_that_would_leave_the_folder_is_refused(path: Any) -> None:
    with pytest.raises(RunError):
        remote_file({"event": "file", "path": path, "size": 1, "sha256": "0"})


@pytest.mark.parametrize(
    "piece",
    [
        {"path": "b", "at": 0, "data": "eA=="},
        {"path": "a", "at": 1, "data": "eA=="},
        {"path": "a", "at": 0, "data": "eHh4"},
        {"path": "a", "at": 0, "data": "?"},
        {"path": "a", "at": None, "data": "eA=="},
        {"path": ["a"], "at": 0, "data": "eA=="},
    ],
)
def test_a_piece_that_nobody_asked_for_is_refused_and_writes_nothing(piece: dict[str, Any], tmp_path: Path) -> None:
    landing = Landing(tmp_path, [RemoteFile("a", 2, hashlib.sha256(b"xx").hexdigest())])
    with pytest.raises(RunError):
        landing.take(piece)
    assert not (tmp_path / "a").exists() and not (tmp_path / "b").exists()


def test_a_file_of_another_sha256_comes_anew(tmp_path: Path) -> None:
    landing = Landing(tmp_path, [RemoteFile("a", 1, hashlib.sha256(b"x").hexdigest())])
    (tmp_path / "a").write_bytes(b"y")
    [missing] = landing.missing()
    assert landing.request([missing]) == "0" and not (tmp_path / "a").exists()
    landing.take({"path": "a", "at": 0, "data": "eA=="})
    assert landing.missing() == []


def test_a_model_of_another_digest_is_put_nowhere(played: Path, tmp_path: Path) -> None:
    source = played / "toy-12345678" / "runs"
    files = content(source)
    for name in files:
        if name.endswith("run.json"):
            files[name] = json.dumps({**json.loads(files[name]), "digest": "0" * 64}).encode()
    remote = [RemoteFile(name, len(data), hashlib.sha256(data).hexdigest()) for name, data in files.items()]
    landing = Landing(tmp_path / "runs" / ".fetch-x", remote)
    for name, data in files.items():
        (landing.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (landing.folder / name).write_bytes(data)
    assert landing.missing() == []
    with pytest.raises(RunError, match="but its run says"):
        landing.settle(tmp_path / "runs", overwrite=False)
    assert not list((tmp_path / "runs").glob("toy-*"))


def test_a_job_under_way_or_without_a_run_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    with pytest.raises(ClusterError, match="is under way, and what it writes changes"):
        Head(tmp_path, tmp_path / "logs", status="RUNNING").brought(tmp_path / "out")
    with pytest.raises(ClusterError, match=r"there is no .* on .*, the cluster's head"):
        Head(tmp_path, tmp_path / "logs").brought(tmp_path / "out")


def test_the_reader_needs_the_standard_library_alone() -> None:
    source = Path(reader.__file__).read_text()
    done = subprocess.run([sys.executable, "-I", "-S", "-c", source, "/nowhere", "", "1"], capture_output=True, timeout=5,
                          preexec_fn=lambda: signal.alarm(1))  # fmt: skip
    assert b'"absent"' in done.stdout and b'"all"' in done.stdout
