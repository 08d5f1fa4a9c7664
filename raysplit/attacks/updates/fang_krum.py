"""The directed-deviation attack on Krum (Fang et al., USENIX Security 2020, section 3.2)."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch

from raysplit.aggregation.geometry import squared_norms
from raysplit.aggregation.gram import centred_gram, gram_over, squared_distances
from raysplit.aggregation.order_statistics import mean_std
from raysplit.aggregation.rules.krum import Krum
from raysplit.aggregation.rules.malicious_count import count_of
from raysplit.aggregation.update_attack import (
    Poison,
    UpdateAttack,
    UpdateView,
    check_start_round,
    updates_threat,
    visible_honest,
)
from raysplit.attacks.updates.directed_deviation import DirectedDeviation, products
from raysplit.channels.channel import ThreatModel
from raysplit.errors import ScenarioError
from raysplit.parts.part import part


@part
class FangKrum(UpdateAttack):
    """A malicious client sends v = -λ·s, the others points at most ``epsilon`` away from it, with the first λ of bound,
    bound/2, bound/4, … for which Krum selects one of them (equations 2 and 4).

    s_j is 1 where the portion would increase without the attack, else -1; the bound is that of Theorem 1 (``bound`` in
    directed_deviation.py). Updates are differences from the portion that the clients were sent, so w_Re is 0 here.

    ``knowledge``: ``"full"``: s is the sign of the update that Krum would select if all were honest; the c = m crafted
    updates stand beside the benign ones. ``"partial"``: s is the sign of the mean of its own c honest updates; those
    stand for the benign ones, beside one crafted update, or beside two, three … until a λ is found.

    Where the rule in place is ``Krum``, it is that very one which is reckoned with, its ``neighbours`` and (with full
    knowledge) its f included; whatever else is in place, it is ``Krum()`` that knows m, as in the paper's transfer to
    other rules. The paper solves for equal crafted updates and draws the others then; here they are drawn first and
    reckoned with, so that ``epsilon`` cannot undo what was found: their distances are ``epsilon``·U[0, 1). With 0 all
    are equal. Both ``epsilon`` and the ``threshold`` of λ are the paper's, in units of the parameters: small portions
    and small learning rates may need smaller ones.

    Records ``gamma`` = λ, ``bound``, ``probes``, ``crafted`` (how many updates it reckoned with) and ``selected`` (1: a
    crafted update is selected). Where no λ ≥ ``threshold`` is, the clients send their honest updates (λ = 0, selected
    0).

    >>> import torch
    >>> from raysplit import FangKrum, Krum
    >>> benign = torch.tensor([[3.0, -2.0], [-1.0, 2.0], [2.0, 1.0], [-2.0, -1.0], [1.0, 3.0]])
    >>> FangKrum(epsilon=0.0)(benign, m=2, rule=Krum())
    tensor([[ 1.3940, -1.3940],
            [ 1.3940, -1.3940]])
    """

    knowledge: Literal["full", "partial"] = "full"
    epsilon: float = 0.01
    threshold: float = 1e-5
    start_round: int = 1
    shardable: ClassVar[bool] = True
    goes_by_rule: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_start_round("FangKrum", self.start_round)
        if not (0 <= self.epsilon < math.inf):
            raise ScenarioError(f"FangKrum.epsilon must be 0 or more and finite, but it is {self.epsilon}")
        if not (0 < self.threshold < math.inf):
            raise ScenarioError(f"FangKrum.threshold must be above 0 and finite, but it is {self.threshold}")

    @property
    def threat_model(self) -> ThreatModel:
        return updates_threat(self.knowledge)

    def poison(self, view: UpdateView) -> Poison:
        seen = visible_honest(view, self.knowledge, "FangKrum")
        krum = view.rule if isinstance(view.rule, Krum) else Krum()
        centre, _ = mean_std(seen)
        if self.knowledge == "full":
            f = view.m if view.context is None else count_of(krum.f, view.context)
            counts = [(view.m, f)]
            gram = _honest_gram(view, centre)
            moved = _selected_row(view, krum, f, gram)
            gram = gram[view.m :, view.m :]
        else:
            counts = [(k, k) for k in range(1, view.m + 1)]
            gram = gram_over(view.across, seen, centre).cpu()
            moved = centre
        sign = torch.where(moved > 0, 1.0, -1.0).to(seen)
        offsets = self._offsets(view, seen)
        mixed, crafted = products(view.across, seen, centre, [centre, sign, *offsets])
        return self._sent(view, [DirectedDeviation(krum, k, f, gram, mixed, crafted) for k, f in counts], sign, offsets)

    def _sent(
        self, view: UpdateView, games: list[DirectedDeviation], sign: torch.Tensor, offsets: torch.Tensor
    ) -> Poison:
        """The rows for the first of the ``games`` in which a λ is found."""
        probes = 0
        for game in games:
            strength, tried = game.search(self.threshold)
            probes += tried
            if strength > 0:
                break
        record = {
            "gamma": strength,
            "bound": game.bound(),
            "probes": float(probes),
            "crafted": float(game.k),
            "selected": float(strength > 0),
        }
        if strength == 0:
            return Poison(view.own, record)
        if not len(offsets):
            return Poison((-strength * sign).expand(view.m, -1), record)
        return Poison(offsets.sub_(sign, alpha=strength), record)

    def _offsets(self, view: UpdateView, like: torch.Tensor) -> torch.Tensor:
        """e_i, [m, d], the first of them 0; [0, d] where all crafted updates are equal."""
        if self.epsilon == 0 or view.m == 1:
            return like[:0]
        drawn = view.across.normal(view.rng, view.m, like.shape[1]).to(like)
        squares = view.across.sum(drawn.shape[1], lambda stripe: squared_norms(drawn[:, stripe]))
        reach = torch.from_numpy(view.rng.random(view.m)).to(squares) * self.epsilon / squares.sqrt()
        reach[0] = 0
        return drawn.mul_(reach[:, None].to(drawn))


def _honest_gram(view: UpdateView, centre: torch.Tensor) -> torch.Tensor:
    """The Gram matrix of all honest updates less ``centre``, [n, n], the adversary's own first."""

    def of(stripe: slice) -> torch.Tensor:
        return centred_gram(torch.cat([view.own[:, stripe], view.benign[:, stripe]]), centre[stripe])

    return view.across.sum(view.benign.shape[1], of).cpu()


def _selected_row(view: UpdateView, krum: Krum, f: int, gram: torch.Tensor) -> torch.Tensor:
    """What Krum would select if nobody lied, [d]."""
    distances = squared_distances(gram)
    place = int(krum.selection(distances.masked_fill_(~distances.isfinite(), torch.inf), f).nonzero())
    return view.own[place] if place < view.m else view.benign[place - view.m]
