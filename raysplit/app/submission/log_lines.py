"""Events in a job's log: one line each, marked, among whatever else Ray and libraries write there."""

from __future__ import annotations

import json
from typing import Any

MARK = "@raysplit "


def line_of(event: dict[str, Any]) -> str:
    return MARK + json.dumps(event, sort_keys=True)


def write(event: dict[str, Any]) -> None:
    print(line_of(event), flush=True)


def event_in(line: str) -> dict[str, Any] | None:
    """The event of a line; None for a line of anybody else's, or one that was cut short. Somebody may have left the line
    before without an end."""
    _, mark, text = line.partition(MARK)
    if not mark:
        return None
    try:
        event = json.loads(text)
    except ValueError:
        return None
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None
