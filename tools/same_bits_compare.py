"""How two runs of one scenario, by two trees, are compared: everything that may not depend on the clock or the machine.

Names that the later tree gave to something are listed here, and nowhere else: old name → new name. Both runs are read
under the new names.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

RENAMED_TABLES: dict[str, str] = {}
RENAMED_COLUMNS = {
    ("aggregation", "declared"): "assumed",
    ("aggregation", "realised"): "actual",
    ("detection", "visits"): "split_steps",
    ("detection", "malicious_visits"): "malicious_split_steps",
    ("detection", "turns"): "local_rounds",
    ("detection", "malicious_turns"): "malicious_local_rounds",
}
"""(new name of the table, old name of the column) → new name of the column."""
RENAMED_WORDS = {
    "AtReplicas": "OnServerReplicas",
    "Deferred": "StartAtRound",
    "Together": "CompositeAttack",
    "declared": "assumed",
    "realised": "actual",
}
"""Whole words within text values of tables, and names in the metadata of recorded updates."""
RENAMED_TENSORS: dict[str, str] = {
    r"^optimizers\.safetensors:server/(.*)$": r"memory.safetensors:server/optimizer#\1",
    r"^optimizers\.safetensors:defense/(.*)$": r"memory.safetensors:fed/rule/updates#\1",
    r"^optimizers\.safetensors:server_defense/(.*)$": r"memory.safetensors:fed/rule/server_updates#\1",
    r"^optimizers\.safetensors:carried/loss_drop/(.*)$": r"memory.safetensors:fed/loss_drop#\1",
    r"^optimizers\.safetensors:carried/buffered/portion/(\d+)/$": (
        r"memory.safetensors:client/\1/in_flight_portion#portion"
    ),
    r"^optimizers\.safetensors:carried/buffered/state/(\d+)/(.*)$": (
        r"memory.safetensors:client/\1/in_flight_optimizer#\2"
    ),
    r"^optimizers\.safetensors:carried/buffered/(.*)$": r"memory.safetensors:fed/buffered#\1",
    r"^optimizers\.safetensors:carried/collected/(.*)$": r"memory.safetensors:server/replicas#\1",
    r"^optimizers\.safetensors:carried/attack/last_move$": r"memory.safetensors:fed/last_move#move",
    r"^optimizers\.safetensors:detection/(.*)$": r"memory.safetensors:server/detection#\1",
    r"^optimizers\.safetensors:fed/client/(.*)$": r"memory.safetensors:fed/optimizer/updates#\1",
    r"^optimizers\.safetensors:fed/server/(.*)$": r"memory.safetensors:fed/optimizer/server_updates#\1",
    r"^optimizers\.safetensors:client/(\d+)/(.*)$": r"memory.safetensors:client/\1/optimizer#\2",
}
"""Regular expression on ``file:tensor`` of the last checkpoint → replacement."""
NEW_COLUMNS = frozenset(
    [
        ("aggregation", "non_finite"),
        *(("aggregation", name) for name in ("bound", "clipped", "saturated")),
        *(
            ("evaluations", name)
            for name in ("balanced_accuracy", "macro_f1", "class_samples", "class_accuracy", "class_predicted")
        ),
    ]
)
"""(table, column) that only the later tree has, on purpose."""
OF_RUN = ("status", "rounds", "digest", "final_accuracy", "forked_rounds", "engine", "population", "threat_model")
"""What of run.json must be equal."""
OF_SCENARIO = "raysplit.scenario"
"""Metadata of recorded updates that names the scenario by its hash, which renamed classes change."""


class Column(NamedTuple):
    """A column's type, whether two runs must agree on it, and its values as text: NaN equals NaN, and −0 is not 0."""

    kind: str
    deterministic: bool
    values: list[str]


Table = dict[str, Column]


def differences(old: Path, new: Path) -> Iterator[str]:
    """What is different in two run folders, one sentence each."""
    old_run, new_run = (json.loads((folder / "run.json").read_text()) for folder in (old, new))
    for name in OF_RUN:
        was, now = (_renamed(json.dumps(run.get(name), sort_keys=True)) for run in (old_run, new_run))
        if was != now:
            yield f"run.json: {name} was {was}, is {now}"
    known, found = _tables(old), _tables(new)
    said = {name: table for name, table in found.items() if name in known or any(one.values for one in table.values())}
    yield from _in_sets("table", known, said, _in_tables)  # a table that is new and has no rows says nothing
    yield from _in_sets("recorded updates", _updates(old), _updates(new), _in_tables)
    before, after = _checkpoint(old), _checkpoint(new)
    yield from _in_sets("checkpoint", before, after, lambda name, one, other: _in_values("", name, [one], [other]))


def _in_sets(kind: str, old: dict[str, Any], new: dict[str, Any], within: Any) -> Iterator[str]:
    for name in sorted(old.keys() | new.keys()):
        if name not in new or name not in old:
            yield f"{kind} {name} is only in the {'old' if name in old else 'new'} run"
        else:
            yield from (f"{kind} {sentence}" for sentence in within(name, old[name], new[name]))


def _in_tables(table: str, old: Table, new: Table) -> Iterator[str]:
    for name in sorted(old.keys() | new.keys()):
        if name not in old and (table, name) in NEW_COLUMNS:
            continue
        if name not in old or name not in new:
            yield f"{table}, column {name} is only in the {'old' if name in old else 'new'} run"
            continue
        one, other = old[name], new[name]
        if one.kind != other.kind:
            yield f"{table}, column {name} was {one.kind}, is {other.kind}"
        if one.deterministic != other.deterministic:
            yield f"{table}, column {name} is marked as deterministic in one run alone"
        elif one.deterministic:
            rounds = old["round"].values if "round" in old else []
            yield from _in_values(f"{table}, column ", name, one.values, other.values, rounds)


def _in_values(where: str, name: str, old: list[str], new: list[str], rounds: list[str] | None = None) -> Iterator[str]:
    if len(old) != len(new):
        yield f"{where}{name} had {len(old)} rows, has {len(new)}"
        return
    wrong = [row for row, (one, other) in enumerate(zip(old, new, strict=True)) if one != other]
    if wrong:
        row = wrong[0]
        at = f", row {row}" if len(old) > 1 else ""
        at += f" (round {rounds[row]})" if rounds else ""
        more = f"; {len(wrong)} of {len(old)} rows" if len(old) > 1 else ""
        yield f"{where}{name}{at}: was {old[row]:.60}, is {new[row]:.60}{more}"


def _tables(run: Path) -> dict[str, Table]:
    return {
        RENAMED_TABLES.get(path.stem, path.stem): _read(
            RENAMED_TABLES.get(path.stem, path.stem), pa.ipc.open_stream(path.read_bytes()).read_all()
        )
        for path in sorted((run / "metrics").glob("*.arrow"))
    }


def _read(table: str, read: pa.Table) -> Table:
    columns = {}
    for field in read.schema:
        certain = (field.metadata or {}).get(b"deterministic") != b"false"
        values = [_renamed(repr(value)) for value in read.column(field.name).to_pylist()] if certain else []
        columns[RENAMED_COLUMNS.get((table, field.name), field.name)] = Column(str(field.type), certain, values)
    return columns


def _renamed(text: str) -> str:
    return _WORDS.sub(lambda word: RENAMED_WORDS[word.group()], text)


_WORDS = re.compile("|".join(rf"\b{word}\b" for word in RENAMED_WORDS))


def _updates(run: Path) -> dict[str, Table]:
    """The recorded rounds: every column of every batch, and the metadata as a column of its own."""
    found = {}
    for path in sorted((run / "updates").rglob("*.arrow")):
        reader = pa.ipc.open_file(path.read_bytes())
        batches = [reader.get_batch(index) for index in range(reader.num_record_batches)]
        about = {name.decode(): value.decode() for name, value in (reader.schema.metadata or {}).items()}
        about.pop(OF_SCENARIO, None)
        columns = {
            field.name: Column(
                str(field.type), True, [repr(v) for b in batches for v in b.column(field.name).to_pylist()]
            )
            for field in reader.schema
        }
        columns["metadata"] = Column("text", True, sorted(_renamed(f"{name}={value}") for name, value in about.items()))
        columns["batches"] = Column("text", True, [str(batch.num_rows) for batch in batches])
        found[path.relative_to(run).as_posix()] = columns
    return found


def _checkpoint(run: Path) -> dict[str, str]:
    """``file:tensor`` → type, shape and bytes of every tensor of the last checkpoint: the model and all that is kept
    for later rounds."""
    last = max((run / "checkpoints").glob("round-*"), default=None)
    tensors = {}
    for path in sorted(last.glob("*.safetensors")) if last else ():
        data = path.read_bytes()
        start = 8 + int.from_bytes(data[:8], "little")
        for name, about in json.loads(data[8:start]).items():
            if name == "__metadata__":
                continue
            first, end = about["data_offsets"]
            digest = hashlib.sha256(data[start + first : start + end]).hexdigest()[:16]
            full = f"{path.name}:{name}"
            for pattern, replacement in RENAMED_TENSORS.items():
                full = re.sub(pattern, replacement, full)
            tensors[full] = f"{about['dtype']} {about['shape']} {digest}"
    return tensors
