"""Which scenarios of a file are meant by ``--only``."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol, TypeVar

from raysplit.errors import ScenarioError, nearest_of


class Named(Protocol):
    """A scenario, or a point of a frontier."""

    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=Named)


def chosen(scenarios: Sequence[N], only: Sequence[str] | None, file: Path) -> list[N]:
    """The scenarios of ``file`` (or its frontier's points) whose name is in ``only`` or matches a pattern in it (``"*-clean"``, ``"V[12]-*"``), in
    the file's order; all of them where nothing is asked for.

    Raises ``ScenarioError`` for a name or pattern that fits none.
    """
    names = [scenario.name for scenario in scenarios]
    for wanted in only or []:
        if not any(_fits(name, wanted) for name in names):
            raise ScenarioError(f"{file} has no scenario {wanted!r}; {nearest_of(wanted, names)}")
    return [one for one in scenarios if not only or any(_fits(one.name, wanted) for wanted in only)]


def _fits(name: str, wanted: str) -> bool:
    return name == wanted or fnmatchcase(name, wanted)
