"""The readers of files, each with whole files to damage: what comes back must be a value or a ``UserError``."""

from __future__ import annotations

import functools
import hashlib
import json
import random
import re
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from raysplit import Observe
from raysplit.analysis.runs.run import open_run
from raysplit.app.running.engine_choice import EngineChoice
from raysplit.app.running.runner import Job, Watch, ended_before, job_of, run_all
from raysplit.population.arrow import ArrowFile
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.scenario.layout import Layout
from raysplit.storage.checkpoints import checkpoint_rounds, is_whole, read_checkpoint
from raysplit.storage.observations import read_observations
from raysplit.storage.run_folder import RunFolder, origin_of
from raysplit.storage.stored_scenario import stored_scenario
from raysplit.storage.tables import open_tables, read_table, rewind
from raysplit.storage.updates import read_updates
from tests.fuzz.damage import damaged, damaged_json
from tests.population.tiny_population import make_clients, write
from tests.toys import toy


@dataclass(frozen=True)
class Target:
    """A reader. ``spoil``: damages one of its files in ``folder``; ``read``: everything that reads them."""

    name: str
    make: Callable[[Path], None]
    spoil: Callable[[Path, random.Random], None]
    read: Callable[[Path], object]


def trained(folder: Path) -> Job:
    """A run with everything that a run may keep."""
    scenario = toy(
        SplitFedV1(),
        training__client_state="per_client",
        record_updates_every=1,
        observe=Observe((1, 2), ("smashed",)),
        checkpoint_every=1,
    )
    job = job_of(scenario, folder / "runs", keep_state=True)
    for _ in run_all([job], EngineChoice("local"), lambda job: nullcontext(Watch()), "continue"):
        pass
    return job


def _spoil(path: Path, draw: random.Random) -> bytes:
    data = damaged(path.read_bytes(), draw)
    path.write_bytes(data)
    return data


def _population(folder: Path) -> None:
    write(folder / "tiny.arrow", make_clients())


def _spoil_population(folder: Path, draw: random.Random) -> None:
    _spoil(draw.choice(sorted(folder.glob("*.arrow"))), draw)


def _read_population(folder: Path) -> None:
    population = ArrowFile(str(folder / "tiny.arrow")).open()
    assert population.info.clients
    ids = np.arange(population.info.clients)
    population.train_sizes(ids), population.test_sizes(ids)
    for client in range(min(population.info.clients, 100)):
        population.name(client), population.train(client), population.test(client)
    population.verify()


def run_of(folder: Path) -> Path:
    (run,) = (folder / "runs").iterdir()
    return run


def _spoil_checkpoint(folder: Path, draw: random.Random) -> None:
    """Half of the time the sums are made right again, so that the damage comes past them."""
    checkpoint = max((run_of(folder) / "checkpoints").glob("round-*"))
    path = draw.choice(sorted(checkpoint.iterdir()))
    if path.suffix == ".json":
        path.write_bytes(damaged_json(path.read_bytes(), draw))
        return
    data = _spoil(path, draw)
    if draw.random() < 0.5:
        record = json.loads((checkpoint / "state.json").read_text())
        record["sha256"][path.name] = hashlib.sha256(data).hexdigest()
        (checkpoint / "state.json").write_text(json.dumps(record))


@functools.cache
def _layout() -> Layout:
    return Layout(toy(SplitFedV1()))


def _read_checkpoint(folder: Path) -> None:
    run = run_of(folder)
    (_, path) = checkpoint_rounds(run / "checkpoints")[-1]
    hash = json.loads((run / "origin.json").read_text())["hash"]
    is_whole(path)
    read_checkpoint(path, _layout(), hash)


_SEAL = re.compile(rb"crc32=([0-9a-f]{8})")


def _spoil_table(folder: Path, draw: random.Random) -> None:
    """Half of the time the last message's checksum is made right again."""
    path = draw.choice(sorted((run_of(folder) / "metrics").glob("*.arrow")))
    whole = path.read_bytes()
    data = _spoil(path, draw)
    seals = list(_SEAL.finditer(data))
    start = whole.rfind(b"\xff\xff\xff\xff", 0, whole.rfind(b"crc32="))
    if seals and draw.random() < 0.5 and start >= 0 and data[:start] == whole[:start]:
        seal = seals[-1]
        unsealed = data[start : seal.start()] + b"crc32=00000000" + data[seal.end() :]
        path.write_bytes(data[: seal.start()] + b"crc32=%08x" % zlib.crc32(unsealed) + data[seal.end() :])


def _read_tables(folder: Path) -> None:
    metrics = run_of(folder) / "metrics"
    for path in sorted(metrics.glob("*.arrow")):
        read_table(path).to_pylist()
    rewind(metrics, 1)
    open_tables(metrics).close()


_JSON = ("run.json", "scenario.json", "origin.json", "environment.json")


def _spoil_json(folder: Path, draw: random.Random) -> None:
    path = run_of(folder) / draw.choice(_JSON)
    path.write_bytes(damaged_json(path.read_bytes(), draw))


def _read_run(folder: Path) -> None:
    run = run_of(folder)
    for read in (open_run, lambda path: open_run(path).summary(), lambda path: origin_of(RunFolder(path))):
        _or_refused(read, run)
    for of_folder in (ended_before, stored_scenario, RunFolder.rounds_done):
        _or_refused(of_folder, RunFolder(run))


def _or_refused(read: Callable[..., object], argument: object) -> None:
    from raysplit.errors import UserError

    try:
        read(argument)
    except UserError as refused:
        one_sentence(refused)


def one_sentence(refused: Exception) -> None:
    text = str(refused)
    assert text and "\n" not in text and len(text) < 2000, f"not one sentence: {text[:300]!r}"


def _spoil_recorded(folder: Path, draw: random.Random) -> None:
    run = run_of(folder)
    _spoil(draw.choice(sorted([*(run / "updates").rglob("*.arrow"), *(run / "observations").glob("*.arrow")])), draw)


def _read_recorded(folder: Path) -> None:
    run = run_of(folder)
    for path in sorted((run / "updates").rglob("*.arrow")):
        _or_refused(_all_of, path)
    for round in (1, 2):
        _or_refused(lambda round: read_observations(run / "observations", round), round)


def _all_of(path: Path) -> None:
    recorded = read_updates(path)
    for tensor in (recorded.updates, recorded.honest, recorded.weights, recorded.malicious, recorded.portion):
        tensor.sum()


def _run_folder(folder: Path) -> None:
    trained(folder)


TARGETS = (
    Target("populations", _population, _spoil_population, _read_population),
    Target("checkpoints", _run_folder, _spoil_checkpoint, _read_checkpoint),
    Target("tables", _run_folder, _spoil_table, _read_tables),
    Target("json", _run_folder, _spoil_json, _read_run),
    Target("recorded", _run_folder, _spoil_recorded, _read_recorded),
)


class Whole:
    """The undamaged files of a folder, to be put back into it after each input."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def restore(self) -> None:
        for path in self._folder.rglob("*"):
            if path.is_file() and path not in self._files:
                path.unlink()
        for path, data in self._files.items():
            if not path.exists() or path.read_bytes() != data:
                path.write_bytes(data)
