"""The canonical form of a part: plain JSON, ``{"type": "TrimmedMean", "trim": "actual"}``.

From it the scenario's hash is taken, and by it the report pairs runs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePath
from typing import Any, TypeVar

from raysplit.errors import ScenarioError
from raysplit.parts.code_digest import code_digest
from raysplit.parts.content import named_file
from raysplit.parts.ownership import is_own_module

T = TypeVar("T")
_ADDED_LATER = "raysplit added later"
_NAMES_FILE = "raysplit names a file"


def added_later(default: T) -> T:
    """Declare a field of a part that has been released without it; ``default`` is what the part did before::

        class Training:
            rounds: int
            lr: float
            last_batch: Literal["keep", "drop", "join"] = added_later("keep")

    While the field has its default the canonical form leaves it out, so scenarios keep the hashes that they had. Only
    fields declared so are left out: were all defaults, a version that changes one would give another experiment the
    hash of the old one. So the default of such a field must never change; where behaviour must, add another field.
    """
    return dataclasses.field(default=default, metadata={_ADDED_LATER: True})


def names_file(default: T) -> T:
    """Declare a field of a part of RaySplit's whose text names a file: what is in that goes into the hash too."""
    return dataclasses.field(default=default, metadata={_NAMES_FILE: True})


def to_json(value: Any) -> Any:
    """The canonical plain form of a part.

    A part from outside RaySplit carries a digest of its code and of all of the user's own that this can reach, and the
    digests of the files that its fields name; a function likewise. Raises ``ScenarioError`` for what no scenario can
    hold.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _part(value)
    if isinstance(value, tuple | list):
        return [to_json(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, PurePath):
        return {"type": "path", "path": str(value)}
    if isinstance(value, Callable):  # type: ignore[arg-type]
        name = getattr(value, "__qualname__", type(value).__name__)
        return {"type": "function", "name": name, "source_sha256": code_digest(value)}
    raise ScenarioError(
        f"a scenario can hold numbers, texts, tuples and parts, but {value!r} is of type {type(value).__name__}: "
        "make it a frozen dataclass"
    )


def hashed_fields(value: Any) -> list[str]:
    """The names of the fields of a part that are in its canonical form."""
    return [field.name for field in dataclasses.fields(value) if not _as_before(field, getattr(value, field.name))]


def _as_before(field: dataclasses.Field[Any], value: Any) -> bool:
    """Whether a field was added later and says what was done before it was there."""
    if _ADDED_LATER not in field.metadata:
        return False
    return type(value) is type(field.default) and bool(value == field.default)


def _part(value: Any) -> dict[str, Any]:
    cls = type(value)
    own = is_own_module(cls.__module__)
    form: dict[str, Any] = {"type": cls.__name__}
    if own:
        form["source_sha256"] = code_digest(cls)
    values = {name: getattr(value, name) for name in hashed_fields(value)}
    if files := named_files(value):
        form["files_sha256"] = files
    return form | {name: to_json(item) for name, item in values.items()}


def named_files(value: Any) -> dict[str, str]:
    """The files that the fields of one part name, with the sha256 of each; those of parts in it are theirs.

    Of RaySplit's parts the fields say so (``names_file``); of a part from outside every text that is a file's name.
    """
    values = {name: getattr(value, name) for name in hashed_fields(value)}
    own = is_own_module(type(value).__module__)
    named = any(_NAMES_FILE in field.metadata for field in dataclasses.fields(value))
    if not (own or named or any(callable(item) and not dataclasses.is_dataclass(item) for item in values.values())):
        return {}
    found = ((text, named_file(text)) for text in sorted(_texts(values)))
    return {text: digest for text, digest in found if digest is not None}


def _texts(value: Any) -> Iterator[str]:
    """The texts and paths in the fields of one part, those of parts in it left out."""
    if isinstance(value, str | PurePath):
        yield str(value)
    elif isinstance(value, Mapping):
        yield from _texts(list(value.values()))
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _texts(item)
