"""Parts written as text on a command line: ``MinMax``, ``TrimmedMean(f=2)``, ``Composed(pre=(Bucketing(size=2),),
rule=Median())``.

Read as Python would, and no more of Python than that: names of parts, named arguments, plain values and tuples of them.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from raysplit.errors import ScenarioError, first_line, nearest_of
from raysplit.scenario.wrong_call import wrong_call


def part_of(node: ast.expr, known: Mapping[str, Any], option: str) -> Any:
    """A part, from its name or from a call with named arguments; nothing else is evaluated.

    ``known``: name → what makes it (a class, or a function such as ``femnist_cnn``), or a part that has that name
    (``PHONE``). Raises ``ScenarioError``, whose sentence begins with ``option``, for an unknown name or argument.
    """
    head = node.func if isinstance(node, ast.Call) else node
    positional, keywords = (node.args, node.keywords) if isinstance(node, ast.Call) else ([], [])
    if not isinstance(head, ast.Name):
        raise ScenarioError(f"{option} takes parts such as 'Krum' or 'TrimmedMean(f=2)', not {ast.unparse(node)!r}")
    if head.id not in known:
        raise ScenarioError(f"{option} knows no {head.id!r}; {nearest_of(head.id, list(known))}")
    words = {word.arg: word.value for word in keywords if word.arg is not None}
    if positional or len(words) < len(keywords):
        raise ScenarioError(f"{option}: name the arguments of {ast.unparse(node)!r}, as in 'TrimmedMean(f=2)'")
    make = known[head.id]
    if not callable(make):
        return make
    arguments = {word: value_of(value, known, option) for word, value in words.items()}
    try:
        return make(**arguments)
    except TypeError as error:
        sentence = wrong_call(str(error), known.get)
        if sentence is None:
            sentence = f"{ast.unparse(node)!r} cannot be made: {first_line(error)}"
        raise ScenarioError(f"{option}: {sentence}") from error


def value_of(node: ast.expr, known: Mapping[str, Any], option: str) -> Any:
    """A plain value, a part, or a tuple of them; raises ``ScenarioError`` as ``part_of``."""
    if isinstance(node, ast.Tuple):
        return tuple(value_of(item, known, option) for item in node.elts)
    if isinstance(node, ast.Call | ast.Name):
        return part_of(node, known, option)
    try:
        return ast.literal_eval(node)
    except ValueError as error:
        raise ScenarioError(f"{option}: {ast.unparse(node)!r} is no plain value") from error
