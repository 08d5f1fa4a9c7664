"""Checkpoints: a folder a round, complete or absent, readable without running anybody's code.

``checkpoints/round-000200/`` holds ``model.safetensors`` (the global model by the network's own names),
``optimizers.safetensors`` and ``state.json`` with the scenario's hash and each file's sha256. Where clients keep
portions of their own ``clients.safetensors`` holds them, as ``17/conv1.weight``, and the client portion of
``model.safetensors`` is the initial one. The folder is written beside its place, forced to disk and renamed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from raysplit.errors import RunError
from raysplit.simulation.state import GlobalState, Layout
from raysplit.storage.atomic import sync_folder
from raysplit.training.optimizers import State

FORMAT = 2
"""2: clients' own portions, in a file that a reader of 1 would pass over."""
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
            "model.safetensors": save(layout.named(state)),
            "optimizers.safetensors": save(_flatten(state)),
        }
        if state.client_portions:
            files["clients.safetensors"] = save(layout.named_portions(state))
        for name, data in files.items():
            _write(scratch / name, data)
        record = {
            "format": FORMAT if state.client_portions else 1,
            "round": state.round,
            "scenario": scenario_hash,
            "digest": layout.digest(state),
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
        if int(old.name.rsplit("-", 1)[1]) in keep:
            continue
        shutil.rmtree(old, ignore_errors=True)
    return final


def newest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint of the latest round under ``folder``, or None."""
    return max(folder.glob("round-*"), default=None)


def read_checkpoint(path: Path, layout: Layout, scenario_hash: str) -> GlobalState:
    """The state in one checkpoint. Raises ``RunError`` if it is damaged, of another scenario, or of a newer
    RaySplit."""
    record = _record(path)
    if record["scenario"] != scenario_hash:
        raise RunError(
            f"checkpoint {path} belongs to scenario {record['scenario']}, not {scenario_hash}; resume the run that "
            "wrote it"
        )
    try:
        names = ["model.safetensors", "optimizers.safetensors"]
        if "clients.safetensors" in record["sha256"]:
            names.append("clients.safetensors")
        data = {name: (path / name).read_bytes() for name in names}
        for name, content in data.items():
            if hashlib.sha256(content).hexdigest() != record["sha256"][name]:
                raise ValueError(f"{name} does not have the sha256 that state.json gives")
        model = load(data["model.safetensors"])
        client, server = layout.client.from_named(model), layout.server.from_named(model)
        states = load(data["optimizers.safetensors"])
        own = load(data["clients.safetensors"]) if "clients.safetensors" in data else {}
        portions = layout.portions_from(own)
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise RunError(
            f"checkpoint {path} is damaged ({error}); remove that folder to resume from the one before it"
        ) from error
    return replace(_unflatten(int(record["round"]), client, server, states), client_portions=portions)


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
    except (OSError, ValueError) as error:
        raise RunError(
            f"checkpoint {path} is damaged ({error}); remove that folder to resume from the one before it"
        ) from error
    if record["format"] > FORMAT:
        raise RunError(
            f"checkpoint {path} was written by a newer RaySplit (format {record['format']}); update RaySplit to "
            "resume it"
        )
    return record


def _flatten(state: GlobalState) -> dict[str, torch.Tensor]:
    tensors = {f"server/{name}": t.contiguous() for name, t in state.server_state.items()}
    tensors.update({f"defense/{name}": t.contiguous() for name, t in state.defense.items()})
    tensors.update({f"server_defense/{name}": t.contiguous() for name, t in state.server_defense.items()})
    tensors.update({f"carried/{name}": t.contiguous() for name, t in state.protocol_state.items()})
    tensors.update({f"detection/{name}": t.contiguous() for name, t in state.detection.items()})
    for portion, kept in state.fed_states.items():
        tensors.update({f"fed/{portion}/{name}": t.contiguous() for name, t in kept.items()})
    for client, kept in state.client_states.items():
        tensors.update({f"client/{client}/{name}": t.contiguous() for name, t in kept.items()})
    return tensors


def _unflatten(round: int, client: torch.Tensor, server: torch.Tensor, tensors: State) -> GlobalState:
    state = GlobalState(round, client, server)
    whole = {
        "server": state.server_state,
        "defense": state.defense,
        "server_defense": state.server_defense,
        "carried": state.protocol_state,
        "detection": state.detection,
    }
    for name, tensor in tensors.items():
        kind, _, rest = name.partition("/")
        if kind in whole:
            whole[kind][rest] = tensor
            continue
        owner, _, field = rest.partition("/")
        if kind == "fed":
            state.fed_states.setdefault(owner, {})[field] = tensor
        else:
            state.client_states.setdefault(int(owner), {})[field] = tensor
    return state


def _write(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
