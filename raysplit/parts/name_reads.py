"""Which names from outside a function reads, and what it imports, told from its code object."""

from __future__ import annotations

import ast
import dis
import functools
from collections.abc import Iterator
from types import CodeType
from typing import NamedTuple

from raysplit.parts.source_text import nested

Path = tuple[str, ...]
"""A global name and the attributes read of it: ``("nets", "layers", "WIDTH")``."""
_GLOBAL = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}
_ATTRIBUTE = {"LOAD_ATTR", "LOAD_METHOD"}
_BETWEEN = {"PUSH_NULL", "CACHE", "NOP", "EXTENDED_ARG"}


class Import(NamedTuple):
    """``import module`` in a function, or ``from module import names``; ``level``: leading dots."""

    module: str
    level: int
    names: tuple[str, ...]


@functools.lru_cache(maxsize=4096)
def reads(code: CodeType) -> tuple[list[Path], list[Import]]:
    """The global names that a function reads, those of functions and classes defined in it included, and its imports;
    both sorted."""
    paths: set[Path] = set()
    imports: set[Import] = set()
    for inner in nested(code):
        paths.update(_paths(inner))
        imports.update(_imports(inner))
    return sorted(paths), sorted(imports)


def paths_in(expression: ast.expr) -> set[Path]:
    """The names that an expression reads, such as a decorator."""
    found: set[Path] = set()
    for node in ast.walk(expression):
        attributes: list[str] = []
        while isinstance(node, ast.Attribute):
            attributes.insert(0, node.attr)
            node = node.value
        if isinstance(node, ast.Name):
            found.add((node.id, *attributes))
    return {path for path in found if not any(path == longer[: len(path)] for longer in found if longer != path)}


def _paths(code: CodeType) -> Iterator[Path]:
    path: list[str] = []
    for instruction in dis.get_instructions(code):
        if path and instruction.opname in _ATTRIBUTE:
            path.append(instruction.argval)
        elif instruction.opname not in _BETWEEN:
            if path:
                yield tuple(path)
            path = [instruction.argval] if instruction.opname in _GLOBAL else []
    if path:
        yield tuple(path)


def _imports(code: CodeType) -> Iterator[Import]:
    constants: list[object] = [0, None]
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_CONST", "LOAD_SMALL_INT"):
            constants = [constants[-1], instruction.argval]
        elif instruction.opname == "IMPORT_NAME":
            level, names = constants
            yield Import(
                instruction.argval,
                level if isinstance(level, int) else 0,
                tuple(names) if isinstance(names, tuple) else (),
            )
