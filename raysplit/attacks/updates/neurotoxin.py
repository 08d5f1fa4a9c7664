"""Neurotoxin: a backdoor that others do not train away (Zhang et al., ICML 2022; from memory, not at hand)."""

from __future__ import annotations

import math
from typing import ClassVar

import torch

from raysplit.aggregation.update_attack import Poison, UpdateAttack, UpdateView, check_start_round
from raysplit.attacks.attack import Attack
from raysplit.channels.channel import Channel, ThreatModel
from raysplit.errors import ScenarioError
from raysplit.parts.part import part


@part
class Neurotoxin(UpdateAttack):
    """Malicious clients send their own updates on those coordinates alone that the last global move touched least, and
    not too long.

    Their own updates are what they trained, so join a data attack with it: ``CompositeAttack((PixelBackdoor(target=0),
    Neurotoxin()))``. ``keep``: the share of coordinates that stay, those of smallest |last move|; the others become 0.
    The last move is what the adversary can see, the difference of the last two global portions, and is taken for what
    benign clients change. ``bound``: rows longer than this are scaled down to it (None: never). ``attack``: what makes
    the rows before, such as ``ModelReplacement()``; None: own updates as they are. Records ``kept``, the share of
    coordinates that stayed: 1 in round 1, when nothing has moved yet.

    The paper projects the gradient of every local step; here it is the round's update, once. FLPoison selects by the
    signed values instead of |.| (our notes on poisoning, section 1.2), which keeps the most negative coordinates,
    however large.

    >>> import torch
    >>> from raysplit import Neurotoxin
    >>> honest = torch.tensor([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0], [2.0, 2.0]])
    >>> Neurotoxin(keep=0.5)(honest, m=1, last_move=torch.tensor([1.0, 0.0]))
    tensor([[0., 2.]])
    """

    keep: float = 0.95
    bound: float | None = None
    attack: UpdateAttack | None = None
    start_round: int = 1

    asks_last_move: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_start_round("Neurotoxin", self.start_round)
        if not 0 < self.keep <= 1:
            raise ScenarioError(
                f"Neurotoxin.keep is a share and must be above 0 and at most 1, but it is {self.keep!r}"
            )
        if self.bound is not None and not 0 < self.bound < math.inf:
            raise ScenarioError(f"Neurotoxin.bound must be above 0 and finite, but it is {self.bound}")
        if self.attack is not None and self.attack.start_round != 1:
            raise ScenarioError(
                f"Neurotoxin.start_round says when {type(self.attack).__name__} starts; leave the attack's own "
                "start_round out"
            )

    @property
    def threat_model(self) -> ThreatModel:
        """Beside its clients' updates it sees the global portion that these are sent."""
        inner = self.attack.threat_model if self.attack is not None else None
        sees = frozenset({Channel.UPDATES, Channel.WEIGHTS}) | (inner.sees if inner else frozenset())
        return ThreatModel(sees, frozenset({Channel.UPDATES}), inner.knowledge if inner else "partial")

    def parts(self) -> tuple[UpdateAttack, ...]:
        return () if self.attack is None else (self.attack,)

    def poison(self, view: UpdateView) -> Poison:
        made = Poison(view.own) if self.attack is None else self.attack.poison(view)
        last = None if view.context is None else view.context.last_move
        rows = made.rows.clone()
        kept = rows.shape[1] if last is None else math.ceil(self.keep * rows.shape[1])
        if last is not None:
            rows[:, least_touched(last, kept).logical_not()] = 0
        if self.bound is not None:
            norms = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
            rows *= torch.where(norms > self.bound, self.bound / norms, torch.ones_like(norms))
        return Poison(rows, {**made.record, "kept": kept / rows.shape[1]})


def least_touched(move: torch.Tensor, count: int) -> torch.Tensor:
    """The ``count`` coordinates of smallest |move|, bool [d]; of equal ones the first."""
    chosen = torch.zeros(len(move), dtype=torch.bool)
    chosen[move.abs().argsort(stable=True)[:count]] = True
    return chosen


def needs_last_move(attack: Attack | None) -> bool:
    """Whether an attack, or one within it, ever asks for the last global move."""
    return attack is not None and attack.asks_last_move
