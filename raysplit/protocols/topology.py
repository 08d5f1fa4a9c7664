"""Which parties there are beside a client and the main server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["pair", "vertical", "extended", "multi_task"]
Along = Literal["width", "height"]


@dataclass(frozen=True)
class Topology:
    """``pair``: client and server, the default. ``parties``, ``along``: of ``vertical``. ``labels``, ``weights``: a
    task each, of ``multi_task``; ``labels`` are the task's label of each class, None: the class itself."""

    kind: Kind = "pair"
    parties: int = 1
    along: Along = "width"
    labels: tuple[tuple[int, ...] | None, ...] = ()
    weights: tuple[float, ...] = ()

    def task_classes(self, classes: int) -> tuple[int, ...]:
        """How many classes every task tells apart."""
        return tuple(classes if of is None else max(of) + 1 for of in self.labels)


PAIR = Topology()
