"""The order in which the names of classes and clients are numbered, alike for folders and tables."""

from __future__ import annotations

import re
from collections.abc import Iterable

_PLAIN = re.compile(r"0|-?[1-9][0-9]*")


def all_plain(names: Iterable[str]) -> bool:
    """True when every name is a whole number as one writes it, without leading zeros or a plus."""
    return all(_PLAIN.fullmatch(name) for name in names)


def in_order(names: Iterable[str]) -> list[str]:
    """The distinct names: 0, 1, 2, 10 when all are plain whole numbers, else as texts (0, 1, 10, a)."""
    distinct = set(names)
    return sorted(distinct, key=int) if all_plain(distinct) else sorted(distinct)
