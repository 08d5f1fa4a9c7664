"""Against whom an attack is carried out, and with how much."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Setup:
    """Against whom and with what. ``round``: of training; None: the trained model in use. ``samples``: how many are
    attacked; of updates, whose clients have all of theirs attacked, at most so many; of candidates for membership, half
    of each kind. ``client``: whose only; None: anybody's. ``auxiliary``: how many samples that are not attacked the
    adversary may have, and the scores compare with. ``queries``: the budget."""

    round: int | None = None
    samples: int = 10
    client: int | None = None
    auxiliary: int = 2000
    queries: int = 1000


DEFAULT = Setup()
"""Ten samples of the trained model in use."""
