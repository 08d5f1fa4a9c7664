"""What a report is called: after the scenario file, and after what the command line made of it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

LONGEST = 100


def report_name(file: Path, sets: Sequence[str], only: Sequence[str] | None) -> str:
    """``quickstart``, ``quickstart-training.lr=0.01``, ``quickstart-only-quickstart-clean``: one name for each way to
    run a file, whatever the order of its overrides, so that no report takes another one's place.

    Where a file name cannot hold all of it, it is shortened and ends in six digits of a hash of the whole.
    """
    changed = sorted({re.sub(r"\s+", "", text) for text in sets})
    parts = [*changed, *(["only", *sorted(set(only))] if only else [])]
    if not parts:
        return file.stem
    whole = "-".join(parts)
    fits = re.sub(r"[^A-Za-z0-9._=-]+", "_", whole)[:LONGEST].rstrip("._")
    if fits != whole:
        fits += f"-{hashlib.sha256(whole.encode()).hexdigest()[:6]}"
    return f"{file.stem}-{fits}"
