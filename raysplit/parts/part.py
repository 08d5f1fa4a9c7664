"""Parts of a scenario: frozen dataclasses of plain values whose types are checked when they are built.

A part is anything that may be in a scenario: ``Training``, ``TrimmedMean``, a user's own rule. ``part`` is the
decorator that makes one; its canonical form, from which the scenario's hash is taken, is in ``canonical.py``.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import types
import typing
from typing import Any, Literal, TypeVar, Union

from typing_extensions import dataclass_transform

from raysplit.errors import ScenarioError
from raysplit.parts.contract import check_answers

Cls = TypeVar("Cls", bound=type)


@dataclass_transform(frozen_default=True)
def part(cls: Cls) -> Cls:
    """A frozen dataclass whose fields are type-checked before its own ``__post_init__`` runs.

    An int is accepted where a float is declared and becomes one; nothing else is converted. Raises ``ScenarioError``
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
    """Structural check by names, and of methods by whether they can be called as the protocol calls them: an attack with
    a number called ``step`` is no optimiser. Unlike isinstance() it works for protocols with properties on every
    Python."""
    members = getattr(protocol, "__protocol_attrs__", None)
    if members is None:  # Python < 3.12
        members = {
            name
            for base in protocol.__mro__
            if getattr(base, "_is_protocol", False) and base is not typing.Protocol
            for name in (*vars(base), *getattr(base, "__annotations__", {}))
            if not name.startswith("_")
        }
    return all(_answers(value, name, inspect.getattr_static(protocol, name, None)) for name in members)


def _answers(value: Any, name: str, declared: Any) -> bool:
    """Whether ``value`` has what a protocol declares under ``name``; a method must take as many arguments."""
    if not hasattr(value, name):
        return False
    if not inspect.isfunction(declared):  # a property or a plain attribute
        return True
    try:
        wanted = list(inspect.signature(declared).parameters.values())[1:]  # without self
        positional = [p for p in wanted if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        inspect.signature(getattr(value, name)).bind(
            *positional, **{p.name: p for p in wanted if p.kind is p.KEYWORD_ONLY}
        )
    except TypeError:  # it is no function, or takes other arguments
        return False
    except ValueError:  # a builtin without a signature
        return True
    return True


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
        inner = typing.get_args(hint)
        return f"a tuple, each of it {describe(inner[0])}" if inner[1:] == (Ellipsis,) else "a tuple"
    words = {float: "a number", int: "a whole number", bool: "True or False", str: "a text"}
    if hint in words:
        return words[hint]
    name = getattr(hint, "__name__", str(hint))
    return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"
