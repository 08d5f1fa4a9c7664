"""Ray's job server, over the HTTP of a cluster's dashboard: submit, list, stop, and read a job's log as it grows.

What Ray's client leaves open is closed here: requests and silent connections have an end, a log that broke off goes on
where it was, its address is the one that was given whatever ``RAY_ADDRESS`` says, and mistakes are sentences.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from raysplit.engine.ray.auth_token import close_to_others, find_token, missing_token, wrong_token
from raysplit.errors import ClusterError

REQUEST_S = 60.0
SILENT_S = 60.0
"""A log that says nothing for so long is opened anew: a machine that slept, or a network that went away, is not
told."""
GONE_S = 180.0
"""A dashboard that cannot be reached for so long is given up."""
_STARTING = "No available agent"
"""In what a head answers that has its dashboard already, but not yet the process that starts jobs."""
ENDED = frozenset({"SUCCEEDED", "FAILED", "STOPPED"})
_TALKATIVE = (
    "ray.dashboard.modules.job.sdk",
    "ray.dashboard.modules.dashboard_sdk",
    "ray._private.runtime_env.packaging",
)
"""They speak of every upload and socket."""
_OVERRIDES = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")


@dataclass(frozen=True)
class RayJob:
    """A job as Ray's server tells it; ``message`` is for people, ``started`` in seconds since 1970, ``node``
    where it runs."""

    id: str
    status: str
    message: str
    metadata: Mapping[str, str]
    started: float
    node: str = ""

    @property
    def ended(self) -> bool:
        return self.status in ENDED


class RayJobs:
    """The job server of one dashboard. Raises ``ClusterError`` where it cannot be reached or does not let us in.

    ``say`` is told when the token's file had to be closed to other users.
    """

    def __init__(self, address: str, say: Callable[[str], None] = lambda text: None) -> None:
        check_dashboard(address)
        found = find_token()
        if found.file is not None and found.text is not None:
            mended = close_to_others(found.file)
            if mended is not None:
                say(mended)
        self.address = address.rstrip("/")
        self._has_token = found.text is not None
        headers = {} if found.text is None else {"Authorization": f"Bearer {found.text}"}
        with self._asking(), _address_as_given():
            from ray.job_submission import JobSubmissionClient

            for name in _TALKATIVE:
                logging.getLogger(name).setLevel(logging.ERROR)
            self._client = JobSubmissionClient(self.address, headers=headers)
        # Its requests wait for ever; keyword arguments are handed on to requests.request.
        self._client._do_request = functools.partial(self._client._do_request, timeout=REQUEST_S)

    def submit(
        self,
        id: str,
        entrypoint: str,
        metadata: Mapping[str, str],
        folder: Path | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """Submit a job under an id that no other job of the cluster has had, with the content of ``folder`` as its
        working directory and ``variables`` in its environment, and its workers'."""
        env: dict[str, Any] = {"env_vars": dict(variables or {})}
        if folder is not None:
            env["working_dir"] = str(folder)
        until = time.monotonic() + GONE_S
        while True:
            try:
                with self._asking():
                    self._client.submit_job(
                        entrypoint=entrypoint, submission_id=id, runtime_env=env, metadata=dict(metadata)
                    )
                return
            except ClusterError as error:
                if _STARTING not in str(error) or time.monotonic() > until:
                    raise
            time.sleep(2)

    def listed(self) -> list[RayJob]:
        """Every job that was submitted to the cluster and that it still knows, oldest first."""
        with self._asking():
            found = [_told(job) for job in self._client.list_jobs() if job.submission_id is not None]
        return sorted(found, key=lambda job: (job.started, job.id))

    def get(self, id: str) -> RayJob:
        with self._asking():
            return _told(self._client.get_job_info(id))

    def stop(self, id: str) -> bool:
        """Ask a job to end, by SIGTERM; whether it was under way."""
        with self._asking():
            return bool(self._client.stop_job(id))

    def wait(self, id: str, seconds: float) -> RayJob:
        """The job once it has ended, or as it is after so long."""
        until = time.monotonic() + seconds
        while not (job := self.get(id)).ended and time.monotonic() < until:
            time.sleep(0.3)
        return job

    def last_lines(self, job: RayJob, lines: int) -> list[str]:
        """The end of a job's log; nothing where it has none yet, or its node is gone."""
        query = urlencode({"submission_id": job.id, "node_id": job.node, "lines": lines, "timeout": 10})
        with self._asking():
            answer = self._client._do_request("GET", f"/api/v0/logs/file?{query}")
        text: str = answer.text if answer.status_code == 200 else ""
        return text.splitlines()

    def log(self, id: str) -> Iterator[str]:
        """The lines of a job's log from its first on, as they come, until the job has ended."""
        read, left, broken_since, whole = 0, "", None, False
        while not whole:
            skip = read
            try:
                ended = self.get(id).ended  # before it is opened: what is then read to its end is all
                broken_since = None
                for chunk in self._chunks(id):
                    if chunk is None:
                        break
                    fresh, skip = chunk[skip:], max(0, skip - len(chunk))
                    read += len(fresh)
                    *lines, left = (left + fresh).split("\n")
                    yield from lines
                else:
                    whole = ended
            except (ClusterError, OSError, RuntimeError) as error:
                broken_since = broken_since or time.monotonic()
                if time.monotonic() - broken_since > GONE_S or isinstance(error, JobUnknown):
                    raise
                time.sleep(1)
        if left:
            yield left

    def _chunks(self, id: str) -> Iterator[str | None]:
        """What Ray sends of a log, from its start, until it closes the connection; None, and no more, where nothing has
        come for long."""
        loop = asyncio.new_event_loop()
        source = self._client.tail_job_logs(id)
        try:
            while True:
                try:
                    yield loop.run_until_complete(asyncio.wait_for(anext(source), SILENT_S))
                except StopAsyncIteration:
                    return
                except (TimeoutError, asyncio.TimeoutError):
                    yield None
                    return
                except Exception as error:
                    if not type(error).__module__.startswith("aiohttp"):
                        raise
                    raise ConnectionError(_plainly(error)) from error
        finally:
            loop.run_until_complete(source.aclose())
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Ray's and HTTP's exceptions as sentences."""
        import requests
        from ray.exceptions import AuthenticationError

        try:
            yield
        except AuthenticationError as error:
            says = wrong_token if self._has_token else missing_token
            raise ClusterError(says(self.address)) from error
        except (requests.exceptions.RequestException, ConnectionError) as error:
            raise ClusterError(_no_dashboard(self.address, _plainly(error))) from error
        except RuntimeError as error:
            text = str(error)
            if "Version check returned 404" in text:
                raise ClusterError(_no_dashboard(self.address, "404 at /api/version")) from error
            if "status code 404" in text:
                raise JobUnknown(f"{self.address} knows no such job") from error
            if "ray[default]" in text:
                raise ClusterError(
                    "Ray's job client is not installed here; add it with: pip install 'raysplit[cluster]'"
                ) from error
            raise ClusterError(f"{self.address} refused ({_plainly(error)})") from error


class JobUnknown(ClusterError):
    """The cluster does not know a job: it never did, or it was started anew since."""


def check_dashboard(address: str) -> None:
    """Raise ``ClusterError`` where the address is none of a dashboard, or nobody listens there."""
    parts = urlsplit(address)
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme not in ("http", "https") or not parts.hostname or port is None or parts.path.strip("/"):
        raise ClusterError(
            f"--address {address!r} is not the address of a Ray dashboard, such as http://head:8265; that of the "
            "cluster itself (head:6379) is for 'raysplit run' on one of its nodes"
        )
    try:
        socket.create_connection((parts.hostname, port), timeout=10).close()
    except OSError as error:
        raise ClusterError(
            f"no Ray dashboard at {address!r} ({error.strerror or error}); start one with 'ray start --head' on a "
            "machine with ray[default], and reach it by 'ssh -L 8265:localhost:8265 HEAD'"
        ) from error


@contextmanager
def _address_as_given() -> Iterator[None]:
    """Ray's client would rather take the address of its environment variables than the one that it is given."""
    before = {name: os.environ.pop(name) for name in _OVERRIDES if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(before)


def _no_dashboard(address: str, why: str) -> str:
    return f"{address} does not answer as a Ray dashboard does ({why})"


def _told(details: Any) -> RayJob:
    status = str(getattr(details.status, "value", details.status))
    metadata = details.metadata or {}
    started, node = (details.start_time or 0) / 1000, details.driver_node_id or ""
    return RayJob(details.submission_id, status, details.message or "", metadata, started, node)


def _plainly(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else type(error).__name__
