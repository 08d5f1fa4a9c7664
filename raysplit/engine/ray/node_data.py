"""Files reach each node of a cluster once: the driver asks every other node what it lacks and sends that, a chunk at a
time through Ray's object store.

A chunk is put there once, whoever lacks it; at most two are under way. Nothing is put in a file's place before it has
come whole.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raysplit.engine.node_files import (
    NodeFile,
    OtherFile,
    begun,
    chunks_of,
    dropped,
    node_files,
    received,
    sha256_of,
    written,
)
from raysplit.errors import ClusterError, counted
from raysplit.scenario.scenario import Scenario

log = logging.getLogger("raysplit")


class NodeData:
    """A scenario's files on the nodes of the cluster that this process has joined."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._complete = {ray.get_runtime_context().get_node_id()}
        """Nodes that have all; the driver's, which opened them, is one."""

    def complete(self) -> None:
        """Give every node what it lacks. Raises ``ClusterError`` where one has another file in its place, or no room.

        Nodes that have been asked before are not asked again.
        """
        nodes = {
            node["NodeID"]: node["NodeManagerAddress"]
            for node in ray.nodes()
            if node["Alive"] and node["NodeID"] not in self._complete and node["Resources"].get("CPU", 0) > 0
        }
        if not nodes:
            return
        files = node_files(self._scenario)
        lacking = _asked(nodes, [_at(node, _lacking).remote(files) for node in nodes])
        for index, file in enumerate(files):
            lack = {node: nodes[node] for node, missing in lacking.items() if index in missing}
            if lack:
                log.warning("sending %s to %s that lack it", file.path, counted(len(lack), "node"))
                _send(file, lack)
        self._complete |= set(lacking)


def _send(file: NodeFile, nodes: dict[str, str]) -> None:
    token = secrets.token_hex(8)
    for index, part in enumerate(file.parts()):
        where = (file, index, token)
        size, sha256 = part.stat().st_size, sha256_of(part)
        left = dict(nodes)
        left = _kept(left, _asked(left, [_at(node, _begin).remote(where, size) for node in left]))
        under_way: list[Any] = []
        try:
            for offset, chunk in chunks_of(part):
                _asked(left, under_way)
                shared = ray.put(chunk)
                under_way = [_at(node, _write).remote(where, offset, shared) for node in left]
            _asked(left, under_way)
        except ClusterError:
            for node in left:
                _at(node, _drop).remote(where)
            raise
        _asked(left, [_at(node, _finish).remote(where, sha256) for node in left])


def _kept(nodes: dict[str, str], answered: dict[str, Any]) -> dict[str, str]:
    return {node: address for node, address in nodes.items() if node in answered}


def _asked(nodes: dict[str, str], calls: Sequence[Any]) -> dict[str, Any]:
    """Answers by node. A node that went away has none; one that refuses ends the run with what it said."""
    answers: dict[str, Any] = {}
    for (node, address), call in zip(nodes.items(), calls, strict=False):
        try:
            answers[node] = ray.get(call)
        except RayTaskError as error:
            cause = error.cause
            if not isinstance(cause, OSError | OtherFile):
                raise
            raise ClusterError(f"node {address} cannot take a file of the scenario: {cause}") from error
        except RayError:
            if any(alive["NodeID"] == node and alive["Alive"] for alive in ray.nodes()):
                raise
    return answers


def _at(node: str, task: Any) -> Any:
    """A task on one node, beside whatever runs there."""
    return task.options(num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False))


Where = tuple[NodeFile, int, str]
"""A file, which of its parts, and the token of what is on its way."""


@ray.remote
def _lacking(files: list[NodeFile]) -> list[int]:
    return [index for index, file in enumerate(files) if file.state() == "missing"]


@ray.remote
def _begin(where: Where, size: int) -> None:
    file, part, token = where
    begun(file.parts()[part], token, size)


@ray.remote
def _write(where: Where, offset: int, chunk: bytes) -> None:
    file, part, token = where
    written(file.parts()[part], token, offset, chunk)


@ray.remote
def _finish(where: Where, sha256: str) -> None:
    file, part, token = where
    received(file.parts()[part], token, sha256)


@ray.remote
def _drop(where: Where) -> None:
    file, part, token = where
    dropped(file.parts()[part], token)
