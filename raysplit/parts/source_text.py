"""From a code object to the statement that it was compiled from, in a form that comments and spaces do not change."""

from __future__ import annotations

import ast
import functools
import linecache
from collections.abc import Iterator, Mapping
from contextlib import suppress
from types import CodeType
from typing import Any

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def definition_of(code: CodeType, names: Mapping[str, Any]) -> Definition | None:
    """The definition that a function's code came from; ``names``: the function's global names.

    None where there is no text (``exec``, ``python -c``), where the text is not what was compiled (the file was edited
    since), or where two lambdas of one line could be meant.
    """
    for text in _texts(code, names):
        codes, definitions = _compiled(text)
        if code in codes:
            found = definitions.get((code.co_name, code.co_firstlineno), [])
            return found[0] if len(found) == 1 else None
    return None


def plain(node: Any) -> Any:
    """A syntax tree as JSON: no positions, no docstrings and nothing that is empty, so that all Pythons say the
    same."""
    if isinstance(node, ast.AST):
        form: dict[str, Any] = {"node": type(node).__name__}
        for name, value in ast.iter_fields(node):
            if name in ("ctx", "kind", "type_comment") or (value is None and not isinstance(node, ast.Constant)):
                continue
            if name == "body" and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                value = value[1:] if ast.get_docstring(node, clean=False) is not None else value
            if value != []:
                form[name] = plain(value)
        return form
    if isinstance(node, list):
        return [plain(item) for item in node]
    return node if node is None or isinstance(node, bool | int | str) else f"{type(node).__name__} {node!r}"


def _texts(code: CodeType, names: Mapping[str, Any]) -> Iterator[str]:
    """What the loader of a function's module has as its text, and what lies in the file that its code names."""
    loader = names.get("__loader__")
    if loader is not None and hasattr(loader, "get_source"):
        with suppress(ImportError, OSError):
            if text := loader.get_source(names["__name__"]):
                yield text
    linecache.checkcache(code.co_filename)
    if lines := linecache.getlines(code.co_filename):
        yield "".join(lines)


@functools.lru_cache(maxsize=128)
def _compiled(text: str) -> tuple[frozenset[CodeType], dict[tuple[str, int], list[Definition]]]:
    """All code objects of a file, and its definitions by name and first line."""
    try:
        tree = ast.parse(text)
        whole = compile(text, "", "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return frozenset(), {}
    definitions: dict[tuple[str, int], list[Definition]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            definitions.setdefault((node.name, first), []).append(node)
        elif isinstance(node, ast.Lambda):
            definitions.setdefault(("<lambda>", node.lineno), []).append(node)
    return frozenset(nested(whole)), definitions


def nested(code: CodeType) -> Iterator[CodeType]:
    """A code object and those defined in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from nested(constant)
