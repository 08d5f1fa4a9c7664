"""Checkpoints: a folder a round, complete or absent, readable without running anybody's code.

``checkpoints/round-000200/`` holds ``model.safetensors`` (the global model by the network's own names),
``memory.safetensors`` (what parties remember, by path) and ``state.json`` with the scenario's hash and each file's
sha256. How stored samples become the model's input stands in ``state.json`` and in the header of
``model.safetensors``. Where clients keep portions of their own ``clients.safetensors`` holds them, as
``17/conv1.weight``, and the client portion of ``model.safetensors`` is the initial one. The folder is written beside
its place, forced to disk and renamed. Of a run that has ended ``keep_model_only`` leaves the model: what is trained,
without what training remembers.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save

from raysplit.errors import RunError
from raysplit.memory.global_state import GlobalState
from raysplit.memory.memory import PORTION, Memory, State, client_of, client_path, scope_of
from raysplit.scenario.layout import Layout
from raysplit.storage.atomic import sync_folder, write_json

FORMAT = 3
"""3: one memory by path. Older ones are refused: the scenarios that wrote them have other hashes too."""
MODEL_ONLY = 4
"""The format of one whose memory was dropped, so that a RaySplit which does not know of this says that it is newer."""
MEMORY = "memory.safetensors"
KEEP = 2
"""Checkpoints kept: the newest, and one before it in case the newest was damaged."""


def write_checkpoint(
    folder: Path, state: GlobalState, layout: Layout, scenario_hash: str, keep: frozenset[int] = frozenset()
) -> Path:
    """Write ``state`` under ``folder`` (a run's ``checkpoints``), atomically; older ones beyond ``KEEP`` go, but for
    rounds in ``keep``.

    Raises ``RunError`` where the disk is full or not writable; what was there before stays.
    """
    final = folder / f"round-{state.round:06d}"
    scratch = folder / f".round-{state.round:06d}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        files = {
            "model.safetensors": save(layout.named(state), layout.about),
            MEMORY: save(_flatten(state.memory)),
        }
        if state.client_portions:
            files["clients.safetensors"] = save(layout.named_portions(state))
        for name, data in files.items():
            _write(scratch / name, data)
        record = {
            "format": FORMAT,
            "round": state.round,
            "scenario": scenario_hash,
            "digest": layout.digest(state),
            "about": layout.about,
            "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        }
        _write(scratch / "state.json", json.dumps(record, indent=2, sort_keys=True).encode())
        sync_folder(scratch)
        if final.exists():
            shutil.rmtree(final)
        os.rename(scratch, final)
        sync_folder(folder)
    except OSError as error:
        shutil.rmtree(scratch, ignore_errors=True)
        raise RunError(
            f"checkpoint {final} cannot be written ({error.strerror}); free some space, then resume the run"
        ) from error
    for old in sorted(folder.glob("round-*"))[:-KEEP]:
        if _round_of(old) in keep:
            continue
        shutil.rmtree(old, ignore_errors=True)
    return final


def checkpoint_rounds(folder: Path) -> list[tuple[int, Path]]:
    """The checkpoints under ``folder`` with their rounds, ascending."""
    return sorted((int(path.name.rsplit("-", 1)[1]), path) for path in folder.glob("round-*"))


def newest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint of the latest round under ``folder``, or None."""
    return max(folder.glob("round-*"), default=None)


def keep_model_only(folder: Path, keep: frozenset[int] = frozenset()) -> None:
    """Of the checkpoints under ``folder`` leave the newest, without its memory, and those of rounds in ``keep``, whole.

    A run whose training remembers nothing (plain SGD, a rule without a memory) loses nothing by it. Whatever is written
    is whole at any instant: a crash leaves more than was asked for, never less.
    """
    newest = newest_checkpoint(folder)
    for path in folder.glob("round-*"):
        if _round_of(path) in keep:
            continue
        if path != newest:
            shutil.rmtree(path, ignore_errors=True)
        elif holds_memory(path):
            record = _record(path)
            sums = {name: digest for name, digest in record["sha256"].items() if name != MEMORY}
            write_json(path / "state.json", {**record, "format": MODEL_ONLY, "sha256": sums})
            (path / MEMORY).unlink(missing_ok=True)


def holds_memory(path: Path) -> bool:
    """Whether a checkpoint has a memory with something in it, which ``keep_model_only`` would take away."""
    try:
        with safe_open(path / MEMORY, "pt") as file:
            return bool(list(file.keys()))
    except (OSError, SafetensorError):
        return False


def is_whole(path: Path) -> bool:
    """Whether training can go on from a checkpoint: it is there, with its memory. Raises ``RunError`` if damaged."""
    return path.is_dir() and bool(_record(path)["format"] == FORMAT)


def read_checkpoint(path: Path, layout: Layout, scenario_hash: str, to_train: bool = True) -> GlobalState:
    """The state in one checkpoint; ``to_train``: all of it, else the model may be enough.

    Raises ``RunError`` if it is damaged, of another scenario, of a newer RaySplit, or lacks what is asked for.
    """
    record = _record(path)
    if to_train and record["format"] == MODEL_ONLY:
        raise RunError(
            f"checkpoint {path} holds the model alone, without the optimiser states and the like that training goes on "
            "with; run the scenario with --keep-state to have them"
        )
    if record["scenario"] != scenario_hash:
        raise RunError(
            f"checkpoint {path} belongs to scenario {record['scenario']}, not {scenario_hash}; resume the run that "
            "wrote it"
        )
    try:
        names = ["model.safetensors", *(name for name in (MEMORY, "clients.safetensors") if name in record["sha256"])]
        if record["format"] == FORMAT and MEMORY not in names:
            raise ValueError(f"state.json has no {MEMORY}")
        data = {name: (path / name).read_bytes() for name in names}
        for name, content in data.items():
            if hashlib.sha256(content).hexdigest() != record["sha256"][name]:
                raise ValueError(f"{name} does not have the sha256 that state.json gives")
        model = load(data["model.safetensors"])
        client, server = layout.client.from_named(model), layout.server.from_named(model)
        states = load(data[MEMORY]) if MEMORY in data else {}
        own = load(data["clients.safetensors"]) if "clients.safetensors" in data else {}
        memory = _unflatten(states)
        memory.update(
            {client_path(c, PORTION): {"portion": portion} for c, portion in layout.portions_from(own).items()}
        )
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise RunError(
            f"checkpoint {path} is damaged ({error}); remove that folder to resume from the one before it"
        ) from error
    return GlobalState(int(record["round"]), client, server, memory)


def _round_of(path: Path) -> int:
    return int(path.name.rsplit("-", 1)[1])


def _record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads((path / "state.json").read_text())
        if not isinstance(record, dict) or not {"format", "round", "scenario", "sha256"} <= record.keys():
            raise ValueError("state.json lacks its fields")
        if (
            type(record["format"]) is not int
            or type(record["round"]) is not int
            or not isinstance(record["sha256"], dict)
        ):
            raise ValueError("state.json has fields of another type")
        if path.name != f"round-{record['round']:06d}":
            raise ValueError(f"state.json is of round {record['round']}")
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(
            f"checkpoint {path} is damaged ({error}); remove that folder to resume from the one before it"
        ) from error
    if record["format"] < FORMAT:
        raise RunError(
            f"checkpoint {path} was written by an older RaySplit (format {record['format']}, now {FORMAT}); finish the "
            "run with that version, or start it again with --overwrite"
        )
    if record["format"] > MODEL_ONLY:
        raise RunError(
            f"checkpoint {path} was written by a newer RaySplit (format {record['format']}); update RaySplit to "
            "resume it"
        )
    return record


def _flatten(memory: Memory) -> dict[str, torch.Tensor]:
    """Every tensor of a memory under ``path#name``, but for portions of clients' own, which have a file."""
    return {
        f"{path}#{name}": tensor.contiguous()
        for path, state in memory.items()
        for name, tensor in state.items()
        if not _is_portion(path)
    }


def _unflatten(tensors: State) -> Memory:
    memory: Memory = {}
    for full, tensor in tensors.items():
        path, _, name = full.partition("#")
        memory.setdefault(path, {})[name] = tensor
    return memory


def _is_portion(path: str) -> bool:
    return scope_of(path) == "client" and path == client_path(client_of(path), PORTION)


def _write(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
