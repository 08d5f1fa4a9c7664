"""What a command leaves in the folder that its user named."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from raysplit.errors import RunError
from raysplit.metrics.atomic import write_bytes


def write_files(folder: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Write ``files`` by name, each atomically, and return their paths; raises ``RunError`` where the folder cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            write_bytes(folder / name, data)
    except OSError as error:
        raise RunError(f"{folder} cannot be written ({error.strerror}); choose another folder with --out") from error
    return [folder / name for name in files]
