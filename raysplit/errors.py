"""Errors that a user can mend: one sentence saying what is wrong, where, and what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A user's mistake. The command line prints it as one sentence and exits with code 2."""


class ScenarioError(UserError):
    """A scenario that cannot be built: a wrong name, type, value or combination."""


class PopulationError(UserError):
    """A population that is missing, damaged or does not fit the scenario."""


class RunError(UserError):
    """A run folder that is missing, damaged, finished or in somebody else's hands."""


class ClusterError(UserError):
    """A cluster, device or machine that cannot hold the scenario."""


def counted(number: int, noun: str) -> str:
    """A number and its noun, in the plural where there is not just one: ``1 host``, ``3,550 clients``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def first_line(error: Exception) -> str:
    """A library's message, for the end of a sentence of ours."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def in_words(error: Exception) -> str:
    """What went wrong in code that may be the user's, for the end of a sentence of ours: an exception that says less
    without its kind is named by it."""
    if isinstance(error, RuntimeError | ValueError | TypeError):
        return first_line(error)
    return f"{type(error).__name__}: {first_line(error)}"


def nearest(name: str, valid: Iterable[str]) -> str:
    """A closing clause that names the valid choice nearest to ``name``, or all of them."""
    choices = list(valid)
    close = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    return "choose from " + ", ".join(repr(choice) for choice in choices)


def nearest_of(name: str, valid: Iterable[str]) -> str:
    """As ``nearest``, but silent about a long list with nothing close in it."""
    choices = list(valid)
    if len(choices) > 20 and not difflib.get_close_matches(name, choices, n=1, cutoff=0.5):
        return "see the README for the names there are"
    return nearest(name, choices) if choices else "see its documentation"
