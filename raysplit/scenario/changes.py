"""A scenario with some of its fields replaced, by dotted names that reach into its parts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from raysplit.errors import ScenarioError, nearest

Thing = TypeVar("Thing")


def with_changes(thing: Thing, changes: Mapping[str, Any]) -> Thing:
    """``thing``, a scenario or a part, with dotted fields replaced; raises ``ScenarioError`` naming the nearest valid
    field.

    All are replaced before anything is checked, so their order does not matter: a field may need another one's new
    value, and a field of a part that is itself replaced (``attack`` and ``attack.scale``) is the new part's.
    """
    return _changed(thing, {tuple(path.split(".")): value for path, value in changes.items()}, ())


def _changed(thing: Any, changes: Mapping[tuple[str, ...], Any], above: tuple[str, ...]) -> Any:
    """``thing``, which stands at the path ``above``, with the fields at paths below it replaced."""
    by_field: dict[str, dict[tuple[str, ...], Any]] = {}
    for path, value in changes.items():
        _check_field(thing, path[0], ".".join((*above, *path)))
        by_field.setdefault(path[0], {})[path[1:]] = value
    new = {}
    for name, below in by_field.items():
        field = below.pop(()) if () in below else getattr(thing, name)
        new[name] = _changed(field, below, (*above, name)) if below else field
    return dataclasses.replace(thing, **new)


def _check_field(thing: Any, name: str, full: str) -> None:
    if not dataclasses.is_dataclass(thing) or isinstance(thing, type):
        raise ScenarioError(f"{full!r} cannot be set: {thing!r} has no parts; set the whole of it in the scenario file")
    names = [field.name for field in dataclasses.fields(thing) if field.init]
    if name not in names:
        raise ScenarioError(f"{full!r} cannot be set: {type(thing).__name__} has no {name!r}; {nearest(name, names)}")
