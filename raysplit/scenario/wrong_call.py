"""A call with wrong arguments, in the user's words instead of Python's."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable

from raysplit.errors import nearest_of


def wrong_call(text: str, called: Callable[[str], object]) -> str | None:
    """What is wrong, by the text of a ``TypeError``; None if it is about anything else. ``called``: name → what is
    called, None where that is unknown."""
    unexpected = re.search(r"(\w+?)(?:\.__init__)?\(\) got an unexpected keyword argument '(\w+)'", text)
    if unexpected:
        owner, option = unexpected.groups()
        return f"{owner} has no option {option!r}; {nearest_of(option, _options(called(owner)))}"
    missing = re.search(
        r"(\w+?)(?:\.__init__)?\(\) missing \d+ required (?:positional |keyword-only )?arguments?: (.+)", text
    )
    return f"{missing.group(1)} needs {missing.group(2)}" if missing else None


def _options(called: object) -> list[str]:
    if dataclasses.is_dataclass(called):
        return [field.name for field in dataclasses.fields(called)]
    return list(inspect.signature(called).parameters) if callable(called) else []
