"""A small file server on the loopback interface that misbehaves on request, one misbehaviour an answer."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Remote:
    """What the server holds and how it will answer: ``mischief`` is used up answer by answer, then it behaves."""

    files: dict[str, bytes]
    mischief: list[Callable[[Handler, bytes], bool]] = field(default_factory=list)
    honours_ranges: bool = True
    gives_etag: bool = True
    gives_length: bool = True
    requests: list[tuple[str, str | None, str | None]] = field(default_factory=list)
    url: str = ""

    @property
    def ranges(self) -> list[str | None]:
        """The ``Range`` of each request so far."""
        return [asked for _, asked, _ in self.requests]


class Handler(BaseHTTPRequestHandler):
    remote: Remote
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.remote.requests.append((self.path, self.headers["Range"], self.headers["If-Range"]))
        self.close_connection = True
        body = self.remote.files.get(self.path.lstrip("/"))
        if self.remote.mischief and self.remote.mischief.pop(0)(self, body or b""):
            return
        if body is None:
            self.answer(404, b"no such file", {})
            return
        self.serve(body)

    def serve(self, body: bytes, *, cut: int | None = None, extra: int = 0) -> None:
        """Answer as RFC 9110 says; ``cut`` breaks off after so many bytes, ``extra`` lies about the length."""
        etag = f'"{hashlib.md5(body).hexdigest()}"'
        headers = {"ETag": etag} if self.remote.gives_etag else {}
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
        same = self.headers["If-Range"] in (None, etag)
        if asked and same and self.remote.honours_ranges:
            start = int(asked[1])
            if start >= len(body):
                self.answer(416, b"", headers | {"Content-Range": f"bytes */{len(body)}"})
                return
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
            self.answer(206, body[start:], headers, cut=cut, extra=extra)
        else:
            self.answer(200, body, headers, cut=cut, extra=extra)

    def answer(
        self, status: int, body: bytes, headers: dict[str, str], *, cut: int | None = None, extra: int = 0
    ) -> None:
        self.send_response(status)
        if self.remote.gives_length:
            self.send_header("Content-Length", str(len(body) + extra))
        self.send_header("Connection", "close")
        for name, value in {"Content-Type": "application/zip", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body if cut is None else body[:cut])

    def log_message(self, format: str, *args: object) -> None:
        pass


def cut(after: int) -> Callable[[Handler, bytes], bool]:
    """Break the connection ``after`` bytes of the body."""

    def act(handler: Handler, body: bytes) -> bool:
        handler.serve(body, cut=after)
        return True

    return act


def status(code: int, **headers: str) -> Callable[[Handler, bytes], bool]:
    """Answer with an error and nothing else."""

    def act(handler: Handler, body: bytes) -> bool:
        handler.answer(code, b"sorry", {name.replace("_", "-"): value for name, value in headers.items()})
        return True

    return act


def page(handler: Handler, body: bytes) -> bool:
    """A login page with a 200, whatever was asked for."""
    handler.answer(200, b"<!DOCTYPE html><html>Please log in</html>", {"Content-Type": "text/html; charset=utf-8"})
    return True


def unlabelled_page(handler: Handler, body: bytes) -> bool:
    """The same page, called an archive."""
    handler.answer(200, b"\n <html>Please log in</html>", {})
    return True


def longer(by: int) -> Callable[[Handler, bytes], bool]:
    """Promise more bytes than come."""

    def act(handler: Handler, body: bytes) -> bool:
        handler.serve(body, extra=by)
        return True

    return act


def well_behaved(handler: Handler, body: bytes) -> bool:
    """Answer properly: to place another mischief after it."""
    return False


def replace(name: str, body: bytes) -> Callable[[Handler, bytes], bool]:
    """From now on the file has other content; this answer is already of the new one."""

    def act(handler: Handler, old: bytes) -> bool:
        handler.remote.files[name] = body
        handler.serve(body)
        return True

    return act


@contextmanager
def serving(remote: Remote) -> Iterator[Remote]:
    """``remote`` answering at ``remote.url`` until the end of the block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"remote": remote}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    remote.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield remote
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
