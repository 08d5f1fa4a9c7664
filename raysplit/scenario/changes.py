"""A scenario with some of its fields replaced, by dotted names that reach into its parts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from raysplit.errors import ScenarioError, nearest

Thing = TypeVar("Thing")


def with_changes(thing: Thing, changes: Mapping[str, Any]) -> Thing:
    """``thing``, a scenario or a part, with dotted fields replaced, each checked; raises ``ScenarioError`` naming the
    nearest valid field."""
    for path, value in changes.items():
        thing = _replace_at(thing, path.split("."), value, path)
    return thing


def _replace_at(thing: Any, path: list[str], value: Any, full: str) -> Any:
    if not dataclasses.is_dataclass(thing) or isinstance(thing, type):
        raise ScenarioError(f"{full!r} cannot be set: {thing!r} has no parts; set the whole of it in the scenario file")
    names = [field.name for field in dataclasses.fields(thing) if field.init]
    if path[0] not in names:
        raise ScenarioError(
            f"{full!r} cannot be set: {type(thing).__name__} has no {path[0]!r}; {nearest(path[0], names)}"
        )
    new = value if len(path) == 1 else _replace_at(getattr(thing, path[0]), path[1:], value, full)
    return dataclasses.replace(thing, **{path[0]: new})
