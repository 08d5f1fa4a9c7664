"""Rows of a made-up run, one function a table."""

from __future__ import annotations

from typing import Any


def round_row(number: int, **changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "round": number,
        "train_loss": 4.1 / number,
        "train_accuracy": 0.5,
        "samples": 900,
        "clients": 4,
        "dropped": 0,
        "malicious": 1,
        "update_norm": 0.25,
        "wall_s": 0.5,
        "virtual_s": None,
        "clients_per_s": 8.0,
        "peak_memory_bytes": 1 << 30,
        "ray_calls": 2,
        "retries": 0,
        "attacked": number >= 3,
        "diverged": False,
    }
    return row | changes


def client_rows(number: int, clients: int = 4) -> list[dict[str, Any]]:
    return [
        {
            "round": number,
            "client": 1000 + client,
            "malicious": client == 0,
            "dropped": False,
            "samples": 200 + client,
            "steps": 1,
            "train_loss": 2.0 + client,
            "train_accuracy": 0.25,
            "update_norm": None,
            "server_update_norm": None,
        }
        for client in range(clients)
    ]


def channel_row(number: int, channel: str = "smashed") -> dict[str, Any]:
    return {"round": number, "channel": channel, "messages": 4, "bytes": 4096, "label_bytes": 32}


def evaluation_row(number: int, accuracy: float, **changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "round": number,
        "split": "test",
        "clients": 4,
        "samples": 100,
        "loss": 1.5,
        "accuracy": accuracy,
        "client_accuracy_mean": accuracy,
        "client_accuracy_sd": 0.1,
        "client_accuracy_p10": accuracy / 2,
        "diverged": False,
    }
    return row | changes
