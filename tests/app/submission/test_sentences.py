"""What goes wrong with a cluster's dashboard is one sentence of docs/errors.md. The dashboard is a server here, which
answers as Ray's does."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from raysplit.app.cli import main
from raysplit.app.submission.attempts import metadata, ray_id
from tests.errors.making import TINY
from tests.errors.test_errors import documented

pytest.importorskip("aiohttp", reason="needs ray[default]")

TOKEN = "0123456789abcdef"


def job(name: str, status: str, store: str = "~/raysplit-jobs") -> dict[str, Any]:
    return {
        "type": "SUBMISSION",
        "submission_id": ray_id(name, 1),
        "status": status,
        "entrypoint": "",
        "message": "",
        "metadata": metadata(name, 1, store, "tiny.py", 1),
        "start_time": 1,
    }


@contextmanager
def dashboard(jobs: list[dict[str, Any]], version: Callable[[], tuple[int, str]]) -> Iterator[str]:
    """A server at the address that is given."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            said = self.headers.get("Authorization")
            code, text = version() if self.path == "/api/version" else (200, json.dumps(jobs))
            if said != f"Bearer {TOKEN}":
                code, text = (401, "Unauthorized: Missing") if said is None else (403, "Forbidden: Invalid")
            self.send_response(code)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def ray_version() -> tuple[int, str]:
    return 200, json.dumps({"version": "4", "ray_version": "2.60.0", "ray_commit": "x", "session_name": "s"})


CASES: dict[str, tuple[list[str], dict[str, str | None], list[dict[str, Any]]]] = {
    "token-missing": (["jobs"], {"RAY_AUTH_TOKEN": None}, []),
    "token-wrong": (["jobs"], {"RAY_AUTH_TOKEN": "another"}, []),
    "token-unreadable": (["jobs"], {"RAY_AUTH_TOKEN": None, "RAY_AUTH_TOKEN_PATH": "no-token"}, []),
    "job-unknown": (["attach", "tiny-12345679"], {}, [job("tiny-12345678", "RUNNING")]),
    "job-fetch-early": (["fetch", "tiny-12345678"], {}, [job("tiny-12345678", "RUNNING")]),
    "job-cancel-late": (["cancel", "tiny-12345678"], {}, [job("tiny-12345678", "SUCCEEDED")]),
    "job-under-way": (["submit", "tiny.py"], {}, [job("tiny-JOB", "RUNNING")]),
    "job-elsewhere": (["submit", "tiny.py"], {}, [job("tiny-JOB", "STOPPED", "/data/jobs")]),
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    (tmp_path / "tiny.py").write_text(TINY)
    return tmp_path


def sentence_of(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setattr("sys.argv", ["raysplit", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    out, err = capfd.readouterr()
    assert left.value.code == 2 and out == "" and err.startswith("raysplit: ") and err.count("\n") == 1, (out, err)
    return err.removeprefix("raysplit: ").rstrip("\n")


def matches(sentence: str, row: str) -> bool:
    pattern = "(.+)".join(re.escape(part) for part in documented()[row].split("…"))
    return re.fullmatch(pattern, sentence) is not None


@pytest.mark.parametrize("name", CASES)
def test_a_mistake_with_a_job_is_one_sentence(
    name: str, here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments, variables, jobs = CASES[name]
    for variable, value in variables.items():
        monkeypatch.delenv(variable, raising=False)
        if value is not None:
            monkeypatch.setenv(variable, value)
    if any("JOB" in about["submission_id"] for about in jobs):
        from raysplit.app.submission.order import job_name
        from raysplit.scenario.file import load_scenarios

        name_now = job_name(Path("tiny.py"), load_scenarios(Path("tiny.py"))[0], sweep=False)
        jobs = json.loads(json.dumps(jobs).replace("tiny-JOB", name_now))
    with dashboard(jobs, ray_version) as address:
        sentence = sentence_of([*arguments, "--address", address], monkeypatch, capfd)
    assert matches(sentence, name), sentence


@pytest.mark.parametrize("answer", [(404, "not found"), (200, "<html>")])
def test_a_server_that_is_no_dashboard_is_one_sentence(
    answer: tuple[int, str], here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with dashboard([], lambda: answer) as address:
        sentence = sentence_of(["jobs", "--address", address], monkeypatch, capfd)
    assert matches(sentence, "dashboard-none"), sentence


def test_rays_variables_do_not_take_the_address_away(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:1")
    with dashboard([], ray_version) as address:
        monkeypatch.setattr("sys.argv", ["raysplit", "jobs", "--address", address])
        main()
    assert capfd.readouterr().out == "No jobs of RaySplit.\n"
