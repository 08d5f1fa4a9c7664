"""``--set`` overrides: ``training.lr=0.01``, ``attack=SignFlip(scale=10.0)``."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import types
import typing
from collections.abc import Mapping, Sequence
from inspect import isfunction
from types import ModuleType
from typing import Any

from raysplit.errors import ScenarioError
from raysplit.parts.part import field_types
from raysplit.scenario.changes import with_changes
from raysplit.scenario.part_text import value_of
from raysplit.scenario.scenario import Scenario

_NO_PARTS = (
    "raysplit.analysis.",
    "raysplit.app.",
    "raysplit.errors",
    "raysplit.parts.",
    "raysplit.scenario.grid",
    "raysplit.scenario.frontier",
)
"""Modules of public names that make nothing which could be a field of a scenario."""


def apply_sets(scenario: Scenario, sets: Sequence[str], module: ModuleType | None = None) -> Scenario:
    """``scenario`` with overrides in any order, all of them applied before the outcome is checked.

    A value is a Python literal, a part of RaySplit or of ``module``, the scenario file, with its arguments
    (``Krum``, ``TrimmedMean(f=2)``), or else a text. Raises ``ScenarioError``, also where one field is given two
    values.
    """
    written: dict[str, str] = {}
    for text in sets:
        path, equals, value = (piece.strip() for piece in text.partition("="))
        if not equals or not path:
            raise ScenarioError(f"--set {text!r} is not of the form name=value, such as training.lr=0.01")
        if written.get(path, value) != value:
            raise ScenarioError(f"--set gives {path} two values, {written[path]} and {value}; leave one of them out")
        written[path] = value
    changes: dict[str, Any] = {}
    for path in sorted(written, key=lambda path: path.count(".")):  # a part before its own fields
        changes[path] = _value(written[path], _hint_at(scenario, changes, path), module)
    return with_changes(scenario, changes)


def _value(text: str, hint: Any, module: ModuleType | None) -> Any:
    """What ``text`` means in a field of type ``hint``: a bare word is a text where one may stand there."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        pass
    try:
        node = ast.parse(text, mode="eval").body
    except SyntaxError:
        return text
    head = node.func if isinstance(node, ast.Call) else node
    known = _makers(module)
    named = isinstance(head, ast.Name) and head.id in known
    if _takes_text(hint):
        is_part = named and isinstance(node, ast.Call)
    else:
        is_part = named or isinstance(node, ast.Call | ast.Tuple) or (isinstance(node, ast.Name) and _takes_part(hint))
    return value_of(node, known, "--set") if is_part else text


def _hint_at(scenario: Scenario, changes: Mapping[str, Any], path: str) -> Any:
    """The declared type of the field at ``path``; None where there is no such field. ``changes``: what replaces parts
    above it."""
    *above, name = path.split(".")
    thing: Any = scenario
    for depth, field in enumerate(above, 1):
        thing = changes.get(".".join(above[:depth]), getattr(thing, field, None))
    is_part = dataclasses.is_dataclass(thing) and not isinstance(thing, type)
    return field_types(type(thing)).get(name) if is_part else None


def _options(hint: Any) -> tuple[Any, ...]:
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if union else (hint,)


def _takes_text(hint: Any) -> bool:
    return any(option in (str, Any) or typing.get_origin(option) is typing.Literal for option in _options(hint))


def _takes_part(hint: Any) -> bool:
    return any(option not in (None, types.NoneType, bool, int, float) for option in _options(hint))


def _makers(module: ModuleType | None) -> dict[str, Any]:
    """What makes a part, by name: the public names of RaySplit, and before them those of a scenario file."""
    import raysplit

    public = {
        name: getattr(importlib.import_module(home), name)
        for home, names in raysplit.HOMES.items()
        if not home.startswith(_NO_PARTS)
        for name in names
    }
    own = {} if module is None else {name: v for name, v in vars(module).items() if not name.startswith("_")}
    return {name: value for name, value in {**public, **own}.items() if isfunction(value) or _is_part(value)}


def _is_part(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, Scenario)
