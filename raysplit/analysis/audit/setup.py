"""What an audit is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["dirac", "random", "sample"]


@dataclass(frozen=True)
class Setup:
    """``canaries``: of every client (of ``"sample"`` one). ``kind``: gradients along a parameter of their own
    (``"dirac"``) or in a random direction, or samples. ``rounds``: so many, None: the scenario's. ``confidence``: of the
    bound."""

    canaries: int = 16
    kind: Kind = "dirac"
    rounds: int | None = None
    confidence: float = 0.95
    seed: int = 0


DEFAULT = Setup()
