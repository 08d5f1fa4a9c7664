"""The attacks and rules that the command line names: ``MinMax``, ``TrimmedMean(f=2)``,
``Composed(pre=(Bucketing(size=2),), rule=Median())``."""

from __future__ import annotations

import ast
import dataclasses
import importlib
from typing import Any, Literal

import raysplit
from raysplit.aggregation.rules.composed import Composed, PreAggregation
from raysplit.aggregation.rules.median import Median
from raysplit.errors import ScenarioError
from raysplit.scenario.part_text import part_of

PackageName = Literal["attacks.updates", "aggregation.rules", "attacks.inference"]


def named_in(package: PackageName) -> dict[str, type]:
    """The public parts of a package, by name."""
    found: dict[str, type] = {}
    for home, names in raysplit.HOMES.items():
        if home.startswith(f"raysplit.{package}."):
            found.update({name: getattr(importlib.import_module(home), name) for name in names})
    return found


def all_parts(package: PackageName) -> tuple[dict[str, Any], list[str]]:
    """Every part of a package as it is without arguments, by name, and a sentence on each that cannot do without.

    A pre-aggregation is put before ``Median``.
    """
    parts: dict[str, Any] = {}
    left_out: list[str] = []
    for name, cls in named_in(package).items():
        needs = [
            field.name
            for field in dataclasses.fields(cls)
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        ]
        if needs:
            left_out.append(f"{name} has no default for {', '.join(needs)}: to see it, name it with its arguments.")
        else:
            parts.update([_labelled(name, cls())])
    return parts, left_out


def parts_named(text: str, package: PackageName, option: str) -> dict[str, Any]:
    """The parts that a list such as ``"Krum, TrimmedMean(f=2)"`` names, by how they are written there.

    Raises ``ScenarioError`` for an unknown name or argument and for what is no list of parts.
    """
    try:
        tree = ast.parse(f"[{text}]", mode="eval").body
    except SyntaxError as error:
        raise ScenarioError(f"{option} {text!r} is no list of parts such as 'Krum, TrimmedMean(f=2)'") from error
    assert isinstance(tree, ast.List)
    known = named_in(package)
    return dict(_labelled(ast.unparse(item), part_of(item, known, option)) for item in tree.elts)


def _labelled(label: str, value: Any) -> tuple[str, Any]:
    return (f"{label} + Median", Composed((value,), Median())) if isinstance(value, PreAggregation) else (label, value)
