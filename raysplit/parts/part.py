"""Parts of a scenario: frozen dataclasses of plain values whose types are checked when they are built.

A part is anything that may stand in a scenario: ``Training``, ``TrimmedMean``, a user's own rule. ``part`` is the
decorator that makes one. ``to_json`` gives its canonical form ``{"type": "TrimmedMean", "trim": "actual"}``, from which
the scenario's hash is taken and by which the report pairs runs.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import inspect
import linecache
import math
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar, Union

from typing_extensions import dataclass_transform

from raysplit.errors import ScenarioError
from raysplit.parts.contract import check_answers

Cls = TypeVar("Cls", bound=type)


@dataclass_transform(frozen_default=True)
def part(cls: Cls) -> Cls:
    """A frozen dataclass whose fields are type-checked before its own ``__post_init__`` runs.

    An int is accepted where a float is asked for and becomes one; nothing else is converted. Raises ``ScenarioError``
    where the class misspells or lacks an answer of its contract (``contract.py``).
    """
    own_check = getattr(cls, "__post_init__", None)

    def __post_init__(self: Any) -> None:
        check_types(self)
        if own_check is not None:
            own_check(self)

    setattr(cls, "__post_init__", __post_init__)  # noqa: B010 - mypy forbids assigning to a method
    check_answers(cls)
    return typing.cast(Cls, dataclasses.dataclass(frozen=True)(cls))


def within(name: str, value: float, low: float, high: float = math.inf) -> None:
    """Raise ``ScenarioError`` unless low ≤ value ≤ high; ``name`` is the field's, as ``"Training.lr"``."""
    if not low <= value <= high:
        top = "" if high == math.inf else f" and at most {high:g}"
        raise ScenarioError(f"{name} must be at least {low:g}{top}, but it is {value!r}")


def check_types(instance: Any) -> None:
    """Raise ``ScenarioError`` for the first field whose value is not of its declared type."""
    hints = field_types(type(instance))
    for field in dataclasses.fields(instance):
        value = getattr(instance, field.name)
        hint = hints[field.name]
        if not matches(value, hint):
            raise ScenarioError(
                f"{type(instance).__name__}.{field.name} must be {describe(hint)}, but it is {value!r} "
                f"({type(value).__name__})"
            )
        if type(value) is int and not matches(value, hint, widen=False):
            object.__setattr__(instance, field.name, float(value))


def field_types(cls: type) -> dict[str, Any]:
    """The resolved type of every field of a part."""
    return typing.get_type_hints(cls)


def matches(value: Any, hint: Any, widen: bool = True) -> bool:
    """Whether ``value`` is of type ``hint``; ``widen`` lets an int stand for a float."""
    origin = typing.get_origin(hint)
    if hint is Any or isinstance(hint, TypeVar):
        return True
    if hint is None or hint is type(None):
        return value is None
    if origin in (Union, types.UnionType):
        return any(matches(value, option, widen) for option in typing.get_args(hint))
    if origin is Literal:
        return any(value == option and type(value) is type(option) for option in typing.get_args(hint))
    if origin is tuple:
        inner = typing.get_args(hint)
        if not isinstance(value, tuple):
            return False
        if len(inner) == 2 and inner[1] is Ellipsis:
            return all(matches(item, inner[0], widen) for item in value)
        return len(inner) == len(value) and all(matches(v, h, widen) for v, h in zip(value, inner, strict=True))
    if hint is float:
        return isinstance(value, float) or (widen and type(value) is int)
    if hint in (int, bool, str):
        return type(value) is hint
    base = origin or hint
    if getattr(base, "_is_protocol", False):
        return not isinstance(value, type) and _has_members(value, base)
    return isinstance(value, base) if isinstance(base, type) else True


def _has_members(value: Any, protocol: type) -> bool:
    """Structural check by names; unlike isinstance() it also works for protocols with properties on every Python."""
    members = getattr(protocol, "__protocol_attrs__", None)
    if members is None:  # Python < 3.12
        members = {
            name
            for base in protocol.__mro__
            if getattr(base, "_is_protocol", False) and base is not typing.Protocol
            for name in (*vars(base), *getattr(base, "__annotations__", {}))
            if not name.startswith("_")
        }
    return all(hasattr(value, name) for name in members)


def describe(hint: Any) -> str:
    """A type in the words of an error message."""
    origin = typing.get_origin(hint)
    if hint is None or hint is type(None):
        return "None"
    if origin in (Union, types.UnionType):
        return " or ".join(describe(option) for option in typing.get_args(hint))
    if origin is Literal:
        return " or ".join(repr(option) for option in typing.get_args(hint))
    if origin is tuple:
        return "a tuple"
    words = {float: "a number", int: "a whole number", bool: "True or False", str: "a text"}
    if hint in words:
        return words[hint]
    name = getattr(hint, "__name__", str(hint))
    return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"


def to_json(value: Any) -> Any:
    """The canonical plain form of a part; a part from outside RaySplit carries a digest of its source too."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        form: dict[str, Any] = {"type": type(value).__name__}
        if not type(value).__module__.startswith("raysplit."):
            form["source_sha256"] = source_digest(type(value))
        for field in dataclasses.fields(value):
            form[field.name] = to_json(getattr(value, field.name))
        return form
    if isinstance(value, tuple | list):
        return [to_json(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Callable):  # type: ignore[arg-type]
        return {
            "type": "function",
            "name": getattr(value, "__qualname__", repr(value)),
            "source_sha256": source_digest(value),
        }
    raise ScenarioError(
        f"a scenario can hold numbers, texts, tuples and parts, but {value!r} is of type {type(value).__name__}: "
        "make it a frozen dataclass"
    )


def source_digest(thing: Any) -> str:
    """sha256 of a user's class or function, so that a changed rule is a changed scenario."""
    try:
        source = inspect.getsource(thing)
    except (OSError, TypeError):
        found = _source_in_cell(thing) if isinstance(thing, type) else None
        if found is None:
            raise ScenarioError(
                f"the source of {thing!r} cannot be read, so its scenario cannot be named; put it in the scenario file"
            ) from None
        source = found
    return hashlib.sha256(source.encode()).hexdigest()


def _source_in_cell(cls: type) -> str | None:
    """The source of a class of a notebook's cell, whose module has no file: by its methods, whose lines ``linecache``
    keeps."""
    for member in vars(cls).values():
        method = member.fget if isinstance(member, property) else member
        code = getattr(inspect.unwrap(method), "__code__", None) if callable(method) else None
        if code is None or not (lines := linecache.getlines(code.co_filename)):
            continue
        for node in ast.walk(ast.parse("".join(lines))):
            if isinstance(node, ast.ClassDef) and node.name == cls.__name__:
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                if first <= code.co_firstlineno <= (node.end_lineno or first):
                    return "".join(lines[first - 1 : node.end_lineno])
    return None
