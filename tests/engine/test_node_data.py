"""What a node of a cluster lacks of a scenario's files is brought there once, whole or not at all."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import ray
from ray._private.node import Node
from ray._private.parameter import RayParams
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raysplit.engine import node_files
from raysplit.engine.node_files import NodeFile, OtherFile, begun, chunks_of, dropped, received, sha256_of, written
from raysplit.engine.node_files import node_files as files_of
from raysplit.engine.ray.node_data import NodeData
from raysplit.engine.ray.own_cluster import on_loopback
from raysplit.errors import ClusterError
from raysplit.parts.part import part
from raysplit.population.arrow import DATA, ArrowFile, clients_file
from raysplit.population.arrow_writer import ClientData, write_population
from raysplit.population.partition.iid import Iid
from raysplit.population.partition.partitioned import partitioned
from raysplit.protocols.fedavg import FedAvg
from tests.toys import ToyClients, toy

SHAPE, CLASSES = (1, 8, 8), 10


def prepared(file: Path, seed: int = 0) -> ArrowFile:
    """A population of six clients in ``file``."""
    rng = np.random.default_rng(seed)
    rows = [ClientData(f"c{k}", *(part for n in (6, 2) for part in _rows(rng, n))) for k in range(6)]
    write_population(file, rows, name="six", shape=SHAPE, classes=CLASSES)
    return ArrowFile(f"{DATA}/{file.name}")


def _rows(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    return rng.integers(0, 256, (n, *SHAPE), dtype=np.uint8), rng.integers(0, CLASSES, n)


@part
class Noted(ToyClients):
    """A population of the user's own that reads a file."""

    notes: str = ""


def test_the_files_of_a_scenario_are_its_populations_and_what_its_parts_name(tmp_path, monkeypatch):
    monkeypatch.setenv("RAYSPLIT_DATA", str(tmp_path))
    file = prepared(tmp_path / "six.arrow")
    pooled = toy(FedAvg()).replace(
        population=partitioned(file, Iid(), clients=3), cohort=toy(FedAvg(), clients=3).cohort
    )
    assert files_of(pooled) == [NodeFile(f"{DATA}/six.arrow", file.open().info.digest, True)]
    assert NodeFile(f"{DATA}/six.arrow", "", True).parts() == [tmp_path / "six.arrow", tmp_path / "six.clients.arrow"]
    notes = tmp_path / "notes.txt"
    notes.write_text("six")
    assert files_of(toy(FedAvg(), population=Noted(6, notes=str(notes)))) == [
        NodeFile(str(notes), sha256_of(notes), False)
    ]
    assert files_of(toy(FedAvg())) == []


def test_a_file_is_there_missing_or_another(tmp_path, monkeypatch):
    monkeypatch.setenv("RAYSPLIT_DATA", str(tmp_path))
    spec = prepared(tmp_path / "six.arrow")
    right = NodeFile(spec.path, spec.open().info.digest, True)
    assert right.state() == "there"
    clients_file(spec.file()).unlink()
    assert right.state() == "missing", "samples without offsets are what a broken copy leaves"
    prepared(tmp_path / "six.arrow", seed=1)
    with pytest.raises(OtherFile, match="remove it there"):
        right.state()
    spec.file().write_bytes(b"damaged")
    with pytest.raises(OtherFile, match="damaged"):
        right.state()
    for piece in right.parts():
        piece.unlink()
    assert right.state() == "missing"


def test_a_file_comes_whole_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(node_files, "CHUNK_BYTES", 1000)
    source, place = tmp_path / "source", tmp_path / "far" / "away" / "place"
    source.write_bytes(np.random.default_rng(0).bytes(3500))
    begun(place, "t", 3500)
    sent = list(chunks_of(source))
    assert [offset for offset, _ in sent] == [0, 1000, 2000, 3000]
    for offset, chunk in [*sent[::-1], sent[2]]:  # in any order, one twice
        written(place, "t", offset, chunk)
    assert not place.exists()
    received(place, "t", sha256_of(source))
    assert place.read_bytes() == source.read_bytes() and list(place.parent.iterdir()) == [place]
    begun(place, "t", 3500)
    written(place, "t", 0, b"other")
    with pytest.raises(OSError, match="did not arrive whole"):
        received(place, "t", sha256_of(source))
    begun(place, "t", 3500)
    dropped(place, "t")
    assert place.read_bytes() == source.read_bytes() and list(place.parent.iterdir()) == [place]
    with pytest.raises(OSError, match="MB are free"):
        begun(place, "t", 1 << 60)


@contextmanager
def another_node(data: Path) -> Iterator[str]:
    """A second node of the cluster, on this machine, that looks for data in a folder of its own; its id."""
    before = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
    with on_loopback():
        node = Node(
            RayParams(
                gcs_address=ray.get_runtime_context().gcs_address,
                node_ip_address="127.0.0.1",
                num_cpus=2,
                num_gpus=0,
                object_store_memory=100 << 20,
                include_dashboard=False,
                env_vars={"RAYSPLIT_DATA": str(data)},
            ),
            head=False,
            shutdown_at_exit=False,
            spawn_reaper=False,
        )
    try:
        yield next(found["NodeID"] for found in ray.nodes() if found["NodeID"] not in before)
    finally:
        node.kill_all_processes(check_alive=False, allow_graceful=True)
        deadline = time.monotonic() + 60  # else the next test's actor may be put on a node that is no more
        while sum(found["Alive"] for found in ray.nodes()) > len(before) and time.monotonic() < deadline:
            time.sleep(0.1)


@pytest.mark.slow
def test_a_node_without_the_population_is_given_it_once_and_opens_it(cluster, tmp_path, monkeypatch, caplog):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    monkeypatch.setenv("RAYSPLIT_DATA", str(here))
    monkeypatch.setattr(node_files, "CHUNK_BYTES", 1000)
    spec = prepared(here / "six.arrow")
    scenario = toy(FedAvg(), population=spec)

    @ray.remote(num_cpus=0)
    def opened() -> str:
        return spec.open().info.digest

    with another_node(there) as node:
        NodeData(scenario).complete()
        assert caplog.text.count("sending") == 1
        for name in ("six.arrow", "six.clients.arrow"):
            assert (there / name).read_bytes() == (here / name).read_bytes()
        assert len(list(there.iterdir())) == 2
        placed = NodeAffinitySchedulingStrategy(node, soft=False)
        assert ray.get(opened.options(scheduling_strategy=placed).remote()) == spec.open().info.digest
        NodeData(scenario).complete()
        assert caplog.text.count("sending") == 1, "what is there is not sent again"
        shutil.rmtree(there)
        prepared(there / "six.arrow", seed=1)
        with pytest.raises(ClusterError, match=r"node 127.0.0.1 cannot take a file of the scenario: .*six.arrow' has"):
            NodeData(scenario).complete()
        assert len(list(there.iterdir())) == 2, "another experiment's file is not replaced"
