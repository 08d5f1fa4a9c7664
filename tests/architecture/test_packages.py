"""The house from outside: which package may import which, where ray may be imported, and how large things may be."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2] / "raysplit"
LAYERS = [
    {"errors", "rng", "threads"},
    {"parts"},
    {"memory"},
    {"channels"},
    {"models", "population"},
    {"protocols"},
    {"training"},
    {"aggregation"},
    {"attacks"},
    {"defenses"},
    {"scenario"},
    {"costs", "storage"},
    {"engine"},
    {"simulation"},
    {"analysis"},
    {"app"},
    {"contracts"},
]
"""Bottom to top: a package imports from layers below its own, and from itself."""
LOOSE = {"__init__.py", "contracts.py", "errors.py", "rng.py", "threads.py"}
"""The only modules beside the packages."""


def modules() -> Iterator[Path]:
    return ROOT.rglob("*.py")


def imports(path: Path) -> Iterator[str]:
    """The modules of RaySplit that a file names in an import, those for type checkers included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            if node.module == "raysplit":
                yield from (f"raysplit.{alias.name}" for alias in node.names)
            elif node.module.startswith("raysplit."):
                yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("raysplit"))


def directory(module: str) -> str:
    """Of a module's dotted name, the directory in which it lies, relative to ``raysplit``; ``"."`` for the root."""
    parts = module.split(".")[1:]
    while parts and not (ROOT.joinpath(*parts)).is_dir():
        parts.pop()
    return "/".join(parts) or "."


def edges() -> set[tuple[str, str]]:
    """(directory that imports, directory that is imported), with files of the root by their own names."""
    found = set()
    for path in modules():
        if path.parent == ROOT:
            continue
        here = str(path.parent.relative_to(ROOT))
        for module in imports(path):
            there = directory(module)
            if there not in (here, "."):
                found.add((here, there))
    return found


def test_packages_import_from_lower_layers_only():
    layer = {name: number for number, names in enumerate(LAYERS) for name in names}
    upward = set()
    for here, there in edges():
        one, other = here.split("/")[0], there.split("/")[0]
        if one != other and layer[one] <= layer[other]:
            upward.add(f"{here} -> {there}")
    assert not upward, f"imports that do not run down: {', '.join(sorted(upward))}"


def test_directories_form_no_cycle():
    graph: dict[str, set[str]] = {}
    for here, there in edges():
        graph.setdefault(here, set()).add(there)
    done: set[str] = set()

    def visit(node: str, path: tuple[str, ...]) -> None:
        assert node not in path, f"a cycle: {' -> '.join((*path[path.index(node) :], node))}"
        if node in done:
            return
        for other in sorted(graph.get(node, ())):
            visit(other, (*path, node))
        done.add(node)

    for node in sorted(graph):
        visit(node, ())


def test_every_package_is_in_a_layer_and_nothing_is_loose_beside_them():
    named = set().union(*LAYERS)
    packages = {path.name for path in ROOT.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert packages <= named
    assert {path.name for path in ROOT.glob("*.py")} <= LOOSE


def test_every_package_says_in_a_sentence_what_belongs_there():
    for path in ROOT.rglob("__init__.py"):
        doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        assert doc and doc.strip().endswith("."), path


def test_only_the_engine_imports_ray():
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name == "ray" or name.startswith("ray.") for name in names):
                assert path.is_relative_to(ROOT / "engine"), path


@pytest.mark.parametrize("path", sorted(modules()), ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_small(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= 60, f"{node.name} has {length} lines"
