"""The optimisation-based poisoning of Khan et al. 2022, equations 1-4, after Shejwalkar & Houmansadr, NDSS 2021."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch

from raysplit.aggregation.order_statistics import mean_std
from raysplit.aggregation.rules.malicious_count import count_of
from raysplit.aggregation.update_attack import (
    Poison,
    UpdateAttack,
    UpdateView,
    check_start_round,
    updates_threat,
    visible_honest,
)
from raysplit.attacks.updates.gamma_search import published_search
from raysplit.attacks.updates.order_lemma import Line, RankGame, RankRule, Survey
from raysplit.attacks.updates.perturbation import Perturbation, perturb
from raysplit.attacks.updates.selection_game import SelectingRule, SelectionGame
from raysplit.channels.channel import ThreatModel
from raysplit.errors import ScenarioError
from raysplit.parts.part import part


@part
class AgrTailored(UpdateAttack):
    """Every malicious client sends v = μ + γ·p, with the γ that moves the rule in place farthest from μ (equations
    1-3).

    argmax_γ L(γ),  L(γ) = ‖AGR({v}^m ∪ B) - μ‖₂;  μ: mean of the honest updates, [d];  B: the benign updates, [n_b, d].

    ``perturbation``: p = ``direction``·σ (``"std"``, equation 4, σ with ddof 1), ``direction``·sign(μ), or
    ``direction``·μ/‖μ‖ (``"unit"``). Only ``"std"`` is the same for updates and for whole weights. -1 pushes updates
    down (Khan et al.); on gradients, as in the NDSS'21 code, the same -1 pushes the weights up.

    ``gamma``: ``"closed"``, the exact plateau of L. For rules that average order statistics (Mean, TrimmedMean, Median)
    L is constant once the clones lie beyond the benign values that the rule keeps (order_lemma.py), which holds from γ*
    = max_j (b_j - μ_j)/p_j on. ``"ndss21"``: the published search, which finds nothing better and, as it starts at
    ``search_start`` (10 on CIFAR-10, 5 on FEMNIST), returns just that wherever γ* is smaller. Or a fixed number. γ
    never exceeds ``max_gamma`` under ``"closed"``; that is also the γ taken where L grows without bound: under Mean,
    and where the rule cuts fewer rows than are malicious. ``"stealth"``: the smallest γ that does ``keep`` of the
    damage that ``"closed"`` does, by bisection (the end of an interval where L is not monotone).

    For rules that select rows by distances (Krum, MultiKrum, Bulyan) γ is the largest for which all clones are selected
    (the one or the few that are, where fewer than m are): ``"closed"``, by doubling and bisection on distances in
    closed form (selection_game.py), less 1e-4 of it so that rounding does not undo it; ``"ndss21"``, by the published
    walk, which started at 3. The published Multi-Krum picks one by one; here it is the rule in place.

    ``knowledge``: ``"partial"`` takes the attackers' own honest updates for B and simulates a cohort of those and m' =
    max(1, ⌊m²/n⌋) clones, of which a trimmed mean cuts m' and a selecting rule fears m' (the "unknown benign gradients"
    notebooks). ``reference``: whether μ and σ are of the benign rows (the code) or of all honest ones (equation 2).

    Records ``gamma``, ``unbounded`` (1: no optimum exists), ``plateau`` (1: γ attains it), ``probes`` of the search,
    and with ``certify`` the ``objective`` L(γ) and the ``certificate``, an upper bound on L over all γ ≥ 0: (Σ_j
    max(D_j(0)², D_j(∞)²))^½ with D = AGR - μ, since each D_j is monotone in γ. ``certify=False`` saves the sort; γ is
    then the least one beyond *all* benign values, with the same aggregate. For selecting rules it records ``gamma``,
    ``probes`` and ``fooled``, 0 where no γ makes the rule select the clones (then γ = 0). Raises ScenarioError for any
    other rule, unless γ is a number: OptimalLittleIsEnough searches along σ whatever the rule; and for ``"stealth"``
    against a selecting rule.

    >>> import torch
    >>> from raysplit import AgrTailored, TrimmedMean
    >>> honest = torch.tensor([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0], [2.0, 2.0]])
    >>> AgrTailored()(honest, m=1, rule=TrimmedMean(f=1))
    tensor([[1., 1.]])
    """

    perturbation: Perturbation = "std"
    gamma: Literal["closed", "ndss21", "stealth"] | float = "closed"
    knowledge: Literal["full", "partial"] = "full"
    reference: Literal["benign", "all_honest"] = "benign"
    direction: Literal[-1, 1] = -1
    search_start: float = 10.0
    max_gamma: float = 20.0
    keep: float = 0.99
    certify: bool = True
    start_round: int = 1
    shardable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_start_round("AgrTailored", self.start_round)
        for name, value in (("search_start", self.search_start), ("max_gamma", self.max_gamma)):
            if not (0 < value < math.inf):
                raise ScenarioError(f"AgrTailored.{name} must be above 0 and finite, but it is {value}")
        if isinstance(self.gamma, float) and not (0 <= self.gamma < math.inf):
            raise ScenarioError(f"AgrTailored.gamma must be 0 or more and finite, but it is {self.gamma}")
        if not 0 < self.keep <= 1:
            raise ScenarioError(f"AgrTailored.keep must be above 0 and at most 1, but it is {self.keep}")
        if self.knowledge == "partial" and self.reference == "all_honest":
            raise ScenarioError(
                "AgrTailored(reference='all_honest') needs knowledge='full': with partial knowledge only its own "
                "updates are seen"
            )

    @property
    def threat_model(self) -> ThreatModel:
        return updates_threat(self.knowledge)

    @property
    def goes_by_rule(self) -> bool:
        return not isinstance(self.gamma, float)

    def poison(self, view: UpdateView) -> Poison:
        """``view.trim`` must be set where the rule is a TrimmedMean and knowledge is full."""
        seen = visible_honest(view, self.knowledge, "AgrTailored")
        mean, std = mean_std(seen, view.own) if self.reference == "all_honest" else mean_std(seen)
        p = perturb(self.perturbation, self.direction, mean, std, view.across)
        game = self._game(view, seen)
        if game is None:
            if not isinstance(self.gamma, float):
                return self._selected(view, seen, mean, p)
            return _clones(mean + self.gamma * p, view.m, {"gamma": self.gamma})
        if self.gamma == "ndss21":
            return self._searched(game, mean, p, view.m)
        if self.gamma == "stealth":
            return self._stealthy(game, mean, p, view.m)
        return self._closed(game, mean, p, view.m)

    def _game(self, view: UpdateView, seen: torch.Tensor) -> RankGame | None:
        """The cohort that the adversary assumes, or None where the rule averages no order statistics."""
        if not isinstance(view.rule, RankRule):
            return None
        if self.knowledge == "full":
            m, trim = view.m, view.trim
            n = seen.shape[0] + m
        else:
            m = max(1, view.m**2 // view.n)
            n = seen.shape[0] + m
            trim = min(m, (n - 1) // 2)
        return RankGame(seen, m, *view.rule.ranks(n, trim), view.across)

    def _searched(self, game: RankGame, mean: torch.Tensor, p: torch.Tensor, m: int) -> Poison:
        line = Line.of(game, mean, p)
        gamma, probes = published_search(line.objective, self.search_start)
        record = {"gamma": gamma, "probes": float(probes), "objective": line.objective(gamma)}
        return _clones(mean + gamma * p, m, record)

    def _stealthy(self, game: RankGame, mean: torch.Tensor, p: torch.Tensor, m: int) -> Poison:
        most = self._closed(game, mean, p, m)
        line = Line.of(game, mean, p)
        target = self.keep * game.objective(mean, most.rows[0])
        low, high, probes = 0.0, most.record["gamma"], 0
        while high - low > 1e-6 * most.record["gamma"]:
            middle, probes = (low + high) / 2, probes + 1
            low, high = (low, middle) if line.objective(middle) >= target else (middle, high)
        record = {"gamma": high, "probes": float(probes), "objective": line.objective(high)}
        return _clones(mean + high * p, m, {**most.record, **record})

    def _selected(self, view: UpdateView, seen: torch.Tensor, mean: torch.Tensor, p: torch.Tensor) -> Poison:
        rule = view.rule
        if not isinstance(rule, SelectingRule):
            raise ScenarioError(
                f"AgrTailored(gamma={self.gamma!r}) is tailored to Mean, TrimmedMean, Median, Krum, MultiKrum and "
                f"Bulyan, but the rule is {type(rule).__name__}: give gamma a number, or use OptimalLittleIsEnough"
            )
        if self.gamma == "stealth":
            raise ScenarioError(
                f"AgrTailored(gamma='stealth') needs a rule that averages order statistics, but {type(rule).__name__} "
                "selects rows: use gamma='closed'"
            )
        if self.knowledge == "full":
            m = view.m
            f = m if view.context is None else count_of(rule.f, view.context)
        else:
            m = f = max(1, view.m**2 // view.n)
        game = SelectionGame.of(rule, seen, mean, p, m, f, view.across)
        if self.gamma == "ndss21":
            gamma, probes = game.published(self.search_start)
        else:
            gamma, probes = game.largest(self.max_gamma)
            gamma *= 1 - 1e-4
        record = {"gamma": gamma, "probes": float(probes), "fooled": float(game.fooled(gamma))}
        return _clones(mean + gamma * p, view.m, record)

    def _closed(self, game: RankGame, mean: torch.Tensor, p: torch.Tensor, m: int) -> Poison:
        down, up = game.across.any(p < 0), game.across.any(p > 0)
        finite = game.bounded(down, up)
        record = {"unbounded": float(not finite)}
        survey: Survey | None = None
        if isinstance(self.gamma, float):
            gamma = self.gamma
        elif not finite:
            gamma = self.max_gamma
        else:
            survey = game.survey(mean, p) if self.certify else Survey(game.outermost(p))
            # p = 0 leaves a coordinate where it is; rounding may put μ itself beyond the benign values, hence ≥ 0.
            needed = float(torch.where(p != 0, (survey.beyond - mean) / p, 0.0).max().clamp_min(0.0))
            needed = game.across.max(needed)
            gamma = min(needed, self.max_gamma)
            record["plateau"] = float(needed <= self.max_gamma)
        value = mean + gamma * p
        record["gamma"] = gamma
        if survey is not None and record["plateau"]:
            # Rounding of μ + γp must not leave a clone inside the value that it has to pass.
            lower, upper = torch.minimum(value, survey.beyond), torch.maximum(value, survey.beyond)
            value = torch.where(p < 0, lower, torch.where(p > 0, upper, value))
            if self.certify:
                record |= {"objective": survey.plateau, "certificate": survey.bound}
        elif self.certify:
            record["objective"] = game.objective(mean, value)
            record["certificate"] = (survey or game.survey(mean, p)).bound if finite else math.inf
        return _clones(value, m, record)


def _clones(value: torch.Tensor, m: int, record: dict[str, float]) -> Poison:
    return Poison(value.expand(m, -1), record)
