"""A cluster that a run starts for itself: where it listens, what its workers import, where its sockets lie, and who
answers signals while it lives."""

from __future__ import annotations

import os
import signal
import stat
import sys
from pathlib import Path

import pytest
import ray

import raysplit
from raysplit.engine.placement import Resources
from raysplit.engine.ray import session_folder as folders
from raysplit.engine.ray.actors import MainServer
from raysplit.engine.ray.own_cluster import signals_kept
from raysplit.engine.ray.session_folder import LONGEST, session_folder
from raysplit.errors import ClusterError
from tests.engine.conftest import Terminated, terminated

LOOPBACK = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}
"""127.0.0.1, ::1 and ::ffff:127.0.0.1 as /proc/net/tcp and tcp6 write them."""


def test_it_listens_on_the_loopback_interface_alone(cluster: Resources) -> None:
    server = MainServer.remote(0)
    ray.get(server.answers.remote())
    found = listening({os.getpid(), *descendants(os.getpid())})
    commands = {command for command, _ in found}
    assert {"gcs_server", "raylet", "ray::MainServer"} <= commands
    assert not {(command, address) for command, address in found if address not in LOOPBACK}
    ray.kill(server)


def test_workers_import_what_this_process_has_imported(cluster: Resources) -> None:
    @ray.remote
    def imported() -> tuple[str, list[str]]:
        import raysplit

        return raysplit.__file__, sys.path

    file, path = ray.get(imported.remote())
    assert file == raysplit.__file__
    assert str(Path(raysplit.__file__).parents[1]) in path
    assert not [folder for folder in path if "awkward" in folder], "the working directory was none of this process's"


def test_its_sockets_lie_in_a_short_folder_of_this_user_alone(cluster: Resources) -> None:
    private = Path(ray._private.worker._global_node.get_session_dir_path()).parents[1]
    assert private.parent == Path("/tmp") and len(str(private)) <= LONGEST
    assert stat.S_IMODE(private.stat().st_mode) == 0o700


def test_a_sigterm_is_answered_as_before_it_started(cluster: Resources) -> None:
    with pytest.raises(Terminated):
        os.kill(os.getpid(), signal.SIGTERM)
        ray.get(ray.put(1))


def test_ray_says_nothing_on_the_standard_output_of_who_joined_it(
    cluster: Resources, capfd: pytest.CaptureFixture[str]
) -> None:
    """With ``--json`` a program reads it. What Ray prints there of a worker that was killed comes this way."""
    said = {"lines": ["A worker died or was killed."], "pid": "raylet", "is_err": False}
    ray._private.worker.print_to_stdstream(said, ignore_prefix=False)
    assert capfd.readouterr().out == ""


def descendants(pid: int) -> set[int]:
    """The processes below ``pid``."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
    below: set[int] = set()
    while fresh := {child for child, parent in parents.items() if parent in below | {pid}} - below:
        below |= fresh
    return below


def listening(pids: set[int]) -> set[tuple[str, str]]:
    """(command, address in hex) of every TCP socket on which one of ``pids`` listens."""
    owner = {}
    for pid in pids:
        try:
            name = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode().rsplit("/", 1)[-1]
            for link in Path(f"/proc/{pid}/fd").iterdir():
                target = os.readlink(link)
                if target.startswith("socket:["):
                    owner[target[8:-1]] = name.strip()
        except OSError:
            continue
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in owner:
                found.add((owner[fields[9]], fields[1].rsplit(":", 1)[0]))
    return found


# Without Ray


def test_a_sigterm_while_ray_starts_is_answered_as_before_once_it_stands() -> None:
    steps: list[str] = []

    def of_ray(number: int, frame: object) -> None:
        sys.exit(number)

    before = signal.signal(signal.SIGTERM, terminated)
    try:
        with pytest.raises(Terminated), signals_kept():
            ray._private.utils.set_sigterm_handler(of_ray)
            os.kill(os.getpid(), signal.SIGTERM)
            steps.append("started")
        assert steps == ["started"] and signal.getsignal(signal.SIGTERM) is terminated
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with signals_kept():
            ray._private.utils.set_sigterm_handler(of_ray)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is short enough, as tests' own are not, and the only one."""
    monkeypatch.setattr(folders, "LONGEST", len(str(tmp_path)) + 20)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    return tmp_path


def test_a_session_folder_is_gone_at_the_end(base: Path) -> None:
    with session_folder() as folder:
        (folder / "session").mkdir(parents=True)
        assert list(base.iterdir()) == [folder.parent] and stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    assert not list(base.iterdir())


def test_one_that_a_killed_run_left_is_removed_by_the_next_and_one_in_use_is_not(base: Path) -> None:
    with session_folder() as used:
        left = base / "rsplit-left0000"
        left.mkdir()
        (left / ".lock").touch()
        (base / "rsplit-notes").mkdir()  # no lock: none of ours
        (base / "other").mkdir()
        with session_folder() as folder:
            names = {path.name for path in base.iterdir()}
            assert names == {used.parent.name, folder.parent.name, "rsplit-notes", "other"}


def test_without_a_folder_that_is_short_enough_it_is_one_sentence(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(base / ("long" * 12)))
    monkeypatch.setattr(folders, "LAST", base / "nowhere")
    with pytest.raises(
        ClusterError, match=r"^Ray finds no folder for its sockets: none of .* name one with RAY_TMPDIR"
    ):
        session_folder().__enter__()
