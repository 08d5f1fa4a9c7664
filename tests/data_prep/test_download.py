"""Downloads over a loopback server that breaks off, refuses, lies and changes its mind."""

from __future__ import annotations

import hashlib
import io
import os
import resource
import shutil
import socket
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from data_prep.download import CHUNK, DownloadError, Patience, download
from data_prep.partial import locked
from tests.data_prep.loopback import (
    Handler,
    Remote,
    cut,
    longer,
    page,
    replace,
    serving,
    status,
    unlabelled_page,
    well_behaved,
)

# Several chunks long, so that a cut can fall inside one.
BODY = b"PK" + np.random.default_rng(0).bytes(900_001)
OTHER = b"PK" + np.random.default_rng(1).bytes(800_003)
SUM = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> Iterator[Remote]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving(Remote({"by_class.zip": BODY})) as remote:
        yield remote


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def patience(waits: list[float]) -> Patience:
    return Patience(attempts=3, first_wait_s=1.0, timeout_s=5.0, sleep=waits.append)


def fetch(remote: Remote, folder: Path, patience: Patience, **options: object) -> Path:
    return download(
        f"{remote.url}/by_class.zip",
        folder / "by_class.zip",
        starts_with=b"PK",
        patience=patience,
        console=Console(file=io.StringIO()),
        **options,  # type: ignore[arg-type]
    )


def fails(remote: Remote, folder: Path, patience: Patience, *words: str, **options: object) -> str:
    with pytest.raises(DownloadError) as caught:
        fetch(remote, folder, patience, **options)
    sentence = str(caught.value)
    assert "\n" not in sentence and len(sentence) < 500
    for word in words:
        assert word in sentence
    assert not (folder / "by_class.zip").exists()
    return sentence


def part(folder: Path) -> bytes:
    return (folder / "by_class.zip.part").read_bytes()


def test_a_download_arrives_whole_and_leaves_nothing_beside_it(
    remote: Remote, tmp_path: Path, patience: Patience
) -> None:
    assert fetch(remote, tmp_path, patience, sha256=SUM.upper()).read_bytes() == BODY
    assert os.listdir(tmp_path) == ["by_class.zip"]


def test_a_finished_download_is_not_fetched_again(remote: Remote, tmp_path: Path, patience: Patience) -> None:
    fetch(remote, tmp_path, patience)
    fetch(remote, tmp_path, patience, sha256=SUM)
    assert len(remote.requests) == 1
    (tmp_path / "by_class.zip").write_bytes(OTHER)
    with pytest.raises(DownloadError, match="delete it to fetch it again"):
        fetch(remote, tmp_path, patience, sha256=SUM)


def test_a_connection_cut_midway_goes_on_where_it_broke(remote: Remote, tmp_path: Path, patience: Patience) -> None:
    remote.mischief = [cut(18 * CHUNK), cut(12 * CHUNK)]
    assert fetch(remote, tmp_path, patience).read_bytes() == BODY
    etag = f'"{hashlib.md5(BODY).hexdigest()}"'
    assert remote.requests[1:] == [
        ("/by_class.zip", f"bytes={18 * CHUNK}-", etag),
        ("/by_class.zip", f"bytes={30 * CHUNK}-", etag),
    ]


def test_attempts_that_bring_bytes_are_not_counted_as_failures(
    remote: Remote, tmp_path: Path, patience: Patience, waits: list[float]
) -> None:
    remote.mischief = [cut(1 * CHUNK)] * 12
    assert fetch(remote, tmp_path, patience).read_bytes() == BODY
    assert waits == [1.0] * 12


def test_the_next_process_goes_on_where_the_last_one_gave_up(
    remote: Remote, tmp_path: Path, patience: Patience
) -> None:
    remote.mischief = [cut(24 * CHUNK), *[status(500)] * 9]
    fails(remote, tmp_path, patience, "500", f"{24 * CHUNK:,} bytes", "kept", "--mirror")
    assert part(tmp_path) == BODY[: 24 * CHUNK]
    remote.mischief = []
    assert fetch(remote, tmp_path, patience).read_bytes() == BODY
    assert remote.ranges[-1] == f"bytes={24 * CHUNK}-"


def test_404_is_final_and_names_the_mirror_option(remote: Remote, tmp_path: Path, patience: Patience) -> None:
    remote.files.clear()
    fails(remote, tmp_path, patience, "404", "by_class.zip", "--mirror")
    assert len(remote.requests) == 1


def test_500_recovers_after_waits_that_double(
    remote: Remote, tmp_path: Path, patience: Patience, waits: list[float]
) -> None:
    remote.mischief = [status(500), status(503)]
    assert fetch(remote, tmp_path, patience).read_bytes() == BODY
    assert waits == [1.0, 2.0]


def test_retry_after_is_obeyed_as_a_number_and_as_a_date_and_has_a_bound(
    remote: Remote, tmp_path: Path, patience: Patience, waits: list[float]
) -> None:
    soon = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=50), usegmt=True)
    remote.mischief = [status(429, Retry_After="17"), status(503, Retry_After=soon)]
    fetch(remote, tmp_path / "a", patience)
    assert waits[0] == 17 and 40 < waits[1] <= 50
    remote.mischief = [status(503, Retry_After="999999999"), status(503, Retry_After="soon")]
    fetch(remote, tmp_path / "b", patience)
    assert waits[2:] == [120.0, 2.0]


def test_a_server_that_never_answers_well_is_left_after_the_last_attempt(
    remote: Remote, tmp_path: Path, patience: Patience, waits: list[float]
) -> None:
    remote.mischief = [status(502)] * 9
    fails(remote, tmp_path, patience, "502", "3 times in a row", "try again later")
    assert len(remote.requests) == 3 and waits == [1.0, 2.0]


def test_no_server_at_all_is_one_sentence(tmp_path: Path, patience: Patience) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = Remote({}, url=f"http://127.0.0.1:{unused.getsockname()[1]}")
        fails(nobody, tmp_path, patience, "no connection")


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "by_class", "http://", "http://[::1"])
def test_an_address_that_is_none_is_one_sentence(tmp_path: Path, patience: Patience, url: str) -> None:
    fails(Remote({}, url=url), tmp_path, patience)


@pytest.mark.parametrize("mischief", [page, unlabelled_page])
def test_a_web_page_instead_of_the_archive_is_refused_and_costs_no_byte(
    remote: Remote, tmp_path: Path, patience: Patience, mischief: object
) -> None:
    remote.mischief = [cut(18 * CHUNK), mischief]  # type: ignore[list-item]
    fails(remote, tmp_path, patience, "web page", "--mirror")
    assert part(tmp_path) == BODY[: 18 * CHUNK]
    assert fetch(remote, tmp_path, patience).read_bytes() == BODY


def test_a_file_of_another_kind_is_refused(remote: Remote, tmp_path: Path, patience: Patience) -> None:
    remote.files["by_class.zip"] = b"Rar!" + BODY
    fails(remote, tmp_path, patience, "b'Rar!", "b'PK'")


def test_a_server_that_promises_more_than_it_sends_is_told_so_and_recovers(
    remote: Remote, tmp_path: Path, patience: Patience
) -> None:
    remote.mischief = [longer(1000)]
    assert fetch(remote, tmp_path, patience).read_bytes() == BODY


def test_a_server_that_always_promises_more_than_it_sends_is_left(
    remote: Remote, tmp_path: Path, patience: Patience
) -> None:
    remote.mischief = [longer(1000)] * 20
    fails(remote, tmp_path, patience, "could not be fetched", "broke off")
    assert BODY.startswith(part(tmp_path)) and len(part(tmp_path)) > len(BODY) - CHUNK


def test_a_wrong_checksum_is_set_aside_and_the_next_try_starts_anew(
    remote: Remote, tmp_path: Path, patience: Patience
) -> None:
    remote.files["by_class.zip"] = OTHER
    fails(remote, tmp_path, patience, "sha256", SUM[:16], hashlib.sha256(OTHER).hexdigest()[:16], sha256=SUM)
    assert (tmp_path / "by_class.zip.wrong").read_bytes() == OTHER
    remote.files["by_class.zip"] = BODY
    assert fetch(remote, tmp_path, patience, sha256=SUM).read_bytes() == BODY
    assert remote.ranges[-1] is None


@pytest.mark.parametrize("gives_etag", [True, False])
def test_a_server_that_ignores_ranges_sends_all_again_and_may_break_off_without_loss(
    remote: Remote, tmp_path: Path, patience: Patience, gives_etag: bool
) -> None:
    remote.honours_ranges, remote.gives_etag = False, gives_etag
    remote.mischief = [cut(30 * CHUNK), cut(6 * CHUNK), *[status(500)] * 3]
    fails(remote, tmp_path, patience, f"{30 * CHUNK:,} bytes")
    assert part(tmp_path) == BODY[: 30 * CHUNK]
    remote.mischief = []
    assert fetch(remote, tmp_path, patience).read_bytes() == BODY


def test_a_file_that_changed_between_attempts_is_fetched_from_the_start(
    remote: Remote, tmp_path: Path, patience: Patience
) -> None:
    remote.mischief = [cut(18 * CHUNK), replace("by_class.zip", OTHER)]
    assert fetch(remote, tmp_path, patience).read_bytes() == OTHER


def test_a_file_that_changed_is_noticed_where_the_server_ignores_the_condition(
    remote: Remote, tmp_path: Path, patience: Patience
) -> None:
    def ignores_if_range(handler: Handler, body: bytes) -> bool:
        remote.files["by_class.zip"] = OTHER
        start = int(handler.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        head = {"Content-Range": f"bytes {start}-{len(OTHER) - 1}/{len(OTHER)}", "ETag": '"another"'}
        handler.answer(206, OTHER[start:], head)
        return True

    remote.mischief = [cut(18 * CHUNK), ignores_if_range]
    assert fetch(remote, tmp_path, patience).read_bytes() == OTHER


def test_a_file_that_changed_without_an_etag_is_noticed_by_its_length_or_its_bytes(
    remote: Remote, tmp_path: Path, patience: Patience
) -> None:
    remote.gives_etag = False
    remote.mischief = [cut(18 * CHUNK), replace("by_class.zip", OTHER)]
    assert fetch(remote, tmp_path / "length", patience).read_bytes() == OTHER
    remote.files["by_class.zip"], remote.honours_ranges = BODY, False
    changed = BODY[:250_000] + b"?" + BODY[250_001:]
    remote.mischief = [cut(18 * CHUNK), replace("by_class.zip", changed)]
    assert fetch(remote, tmp_path / "bytes", patience).read_bytes() == changed


def test_a_server_that_names_no_version_is_resumed_while_the_length_is_the_same(
    remote: Remote, tmp_path: Path, patience: Patience
) -> None:
    remote.gives_etag = False
    remote.mischief = [cut(18 * CHUNK)]
    assert fetch(remote, tmp_path, patience).read_bytes() == BODY
    assert remote.requests[1:] == [("/by_class.zip", f"bytes={18 * CHUNK}-", None)]


def test_a_kill_while_old_bytes_are_compared_does_not_mix_two_files(
    remote: Remote, tmp_path: Path, patience: Patience
) -> None:
    remote.gives_etag = remote.honours_ranges = False
    remote.mischief = [cut(36 * CHUNK), *[status(500)] * 3]
    fails(remote, tmp_path, patience)
    # The file changes far into what we have, gets an ETag, and the first answer of it breaks off before that place.
    changed = BODY[:550_000] + b"?" * 1000 + BODY[551_000:]
    remote.files["by_class.zip"], remote.gives_etag = changed, True
    remote.mischief = [cut(18 * CHUNK), *[status(500)] * 3]
    fails(remote, tmp_path, patience)
    remote.honours_ranges, remote.mischief = True, []
    assert fetch(remote, tmp_path, patience).read_bytes() == changed


def test_416_after_a_complete_part_finishes_the_download(remote: Remote, tmp_path: Path, patience: Patience) -> None:
    remote.mischief = [cut(18 * CHUNK), *[status(500)] * 3]
    fails(remote, tmp_path, patience)
    (tmp_path / "by_class.zip.part").write_bytes(BODY)
    assert fetch(remote, tmp_path, patience).read_bytes() == BODY
    assert remote.ranges[-1] == f"bytes={len(BODY)}-"


def test_416_for_a_part_that_is_too_long_fetches_the_file_and_costs_only_the_surplus(
    remote: Remote, tmp_path: Path, patience: Patience
) -> None:
    (tmp_path / "by_class.zip.part").write_bytes(BODY + b"surplus")
    remote.mischief = [well_behaved, cut(6 * CHUNK), *[status(500)] * 3]
    fails(remote, tmp_path, patience)
    assert part(tmp_path)[: len(BODY)] == BODY
    assert fetch(remote, tmp_path, patience).read_bytes() == BODY


def test_416_to_a_plain_request_is_final(remote: Remote, tmp_path: Path, patience: Patience) -> None:
    remote.mischief = [status(416)] * 2
    fails(remote, tmp_path, patience, "416")


def test_an_unreadable_note_beside_a_part_costs_nothing_but_a_comparison(
    remote: Remote, tmp_path: Path, patience: Patience
) -> None:
    for note in ("{", "[]", '{"length": "x", "etag": 1, "modified": null}'):
        (tmp_path / "by_class.zip.part").write_bytes(BODY[: 24 * CHUNK])
        (tmp_path / "by_class.zip.part.json").write_text(note)
        assert fetch(remote, tmp_path, patience).read_bytes() == BODY
        (tmp_path / "by_class.zip").unlink()


def test_a_mirror_serves_the_same_name_from_its_folder(remote: Remote, tmp_path: Path, patience: Patience) -> None:
    remote.files = {"deep/folder/by_class.zip": BODY}
    unreachable = Remote({}, url="http://127.0.0.1:9")
    assert fetch(unreachable, tmp_path, patience, mirror=f"{remote.url}/deep/folder/").read_bytes() == BODY


def test_too_little_room_is_said_before_anything_is_written(
    remote: Remote, tmp_path: Path, patience: Patience, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**6, 10**6 - 500, 500))  # type: ignore[attr-defined]
    fails(remote, tmp_path, patience, "more bytes", "500 left", "make room")
    assert part(tmp_path) == b""


def test_a_disk_that_fills_up_is_one_sentence_and_keeps_what_arrived(
    remote: Remote, tmp_path: Path, patience: Patience
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    try:
        fails(remote, tmp_path, patience, "disk is full", "kept")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(part(tmp_path)) > 0 and BODY.startswith(part(tmp_path))
    assert fetch(remote, tmp_path, patience).read_bytes() == BODY


def test_a_folder_that_cannot_be_made_is_one_sentence(remote: Remote, tmp_path: Path, patience: Patience) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DownloadError, match="cannot be written"):
        fetch(remote, tmp_path / "file", patience)


def test_two_processes_do_not_write_one_part(remote: Remote, tmp_path: Path, patience: Patience) -> None:
    with locked(tmp_path / "by_class.zip.part"):
        fails(remote, tmp_path, patience, "another process")
    assert fetch(remote, tmp_path, patience).read_bytes() == BODY


def test_a_server_without_lengths_is_read_to_its_end(remote: Remote, tmp_path: Path, patience: Patience) -> None:
    remote.gives_length = False
    assert fetch(remote, tmp_path, patience).read_bytes() == BODY


def test_a_re_encoded_answer_is_refused(remote: Remote, tmp_path: Path, patience: Patience) -> None:
    def gzipped(handler: Handler, body: bytes) -> bool:
        handler.answer(200, body, {"Content-Encoding": "gzip"})
        return True

    remote.mischief = [gzipped]
    fails(remote, tmp_path, patience, "re-encoded", "gzip")


def test_a_console_that_is_no_terminal_gets_words_and_no_bar(
    remote: Remote, tmp_path: Path, patience: Patience
) -> None:
    said = io.StringIO()
    remote.mischief = [status(503)]
    download(f"{remote.url}/by_class.zip", tmp_path / "x.zip", patience=patience, console=Console(file=said))
    assert said.getvalue() == (
        f"{remote.url}/by_class.zip: the server answered 503 Service Unavailable; trying again in 1 s\n"
    )
