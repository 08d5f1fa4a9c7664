"""The records of inference attacks in a run folder, read without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple


class InferenceRecord(NamedTuple):
    """``path``: its folder, with ``images.png`` where images were attacked; ``record``: ``inference.json``."""

    path: Path
    record: dict[str, Any]


def read_inferences(folder: Path) -> list[InferenceRecord]:
    """What is under ``folder``, a run's ``inference``, in order of name; what is half written or damaged is left
    out."""
    found = []
    for path in sorted(folder.glob("*/inference.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(record, dict) and isinstance(record.get("scores"), list):
            found.append(InferenceRecord(path.parent, record))
    return found
