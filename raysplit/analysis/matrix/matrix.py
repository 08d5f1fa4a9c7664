"""Every attack against every rule on one matrix of updates."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from raysplit.aggregation.fed_server import aggregate_matrix
from raysplit.aggregation.geometry import Geometry
from raysplit.aggregation.rule import AggregationRule, roots_of
from raysplit.aggregation.update_attack import UpdateAttack
from raysplit.analysis.matrix.cohorts import HELD_OUT, Cohort
from raysplit.errors import UserError
from raysplit.threads import one_thread

NO_ATTACK = "none"


@dataclass(frozen=True)
class Pair:
    """What a rule made of an attack. ``bias``: ‖AGR - μ_b‖₂ with μ_b the mean of the benign rows; ``relative_bias``:
    over ‖μ_b‖₂.

    ``malicious_selected``: share of the malicious rows that took part, where the rule takes whole rows. ``seconds``: of
    the rule, and ``attack_seconds`` of the attack, on one thread of this CPU; what rules share (geometry.py) is counted
    to the first. ``refusal``: why there are no numbers, in the part's own words.
    """

    attack: str
    rule: str
    bias: float | None = None
    relative_bias: float | None = None
    cosine: float | None = None
    norm: float | None = None
    malicious_selected: float | None = None
    broken: bool | None = None
    seconds: float | None = None
    attack_seconds: float | None = None
    refusal: str | None = None


@dataclass(frozen=True)
class Matrix:
    """``pairs``: attack by attack, each with every rule."""

    title: str
    attacks: tuple[str, ...]
    rules: tuple[str, ...]
    pairs: tuple[Pair, ...]
    notes: tuple[str, ...]

    def pair(self, attack: str, rule: str) -> Pair:
        return self.pairs[self.attacks.index(attack) * len(self.rules) + self.rules.index(rule)]

    def to_json(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "pairs": [dataclasses.asdict(pair) for pair in self.pairs],
            "notes": list(self.notes),
        }


@one_thread()
def rehearse(
    cohort: Cohort,
    attacks: Mapping[str, UpdateAttack],
    rules: Mapping[str, AggregationRule],
    notes: tuple[str, ...] = (),
    watch: Callable[[str, str], None] = lambda attack, rule: None,
) -> Matrix:
    """Every attack, and none, against every rule. A pair that cannot be is a refusal, not an error.

    Rules that remember begin with nothing; every pair has the same random streams, those of the run that was recorded.
    """
    notes = (*cohort.notes, *notes)
    if attacks and not bool(cohort.round.malicious.any()):
        attacks, notes = {}, (*notes, "Nobody is malicious here, so no attack was carried out.")
    if cohort.round.reference is None and any(roots_of(rule) for rule in rules.values()):
        who = ", ".join(name for name, rule in rules.items() if roots_of(rule))
        notes = (*notes, f"{who}: the reference is the mean of {HELD_OUT} benign rows, which this column goes without.")
    tried: dict[str, UpdateAttack | None] = {NO_ATTACK: None, **attacks}
    pairs = []
    geometry_of = _shared()
    for attack, malicious_client in tried.items():
        for name, rule in rules.items():
            watch(attack, name)
            pairs.append(_pair(cohort, attack, malicious_client, name, rule, geometry_of))
    return Matrix(cohort.title, tuple(tried), tuple(rules), tuple(pairs), notes)


def _shared() -> Callable[[torch.Tensor], Geometry]:
    """The geometry of a matrix; that of the last one of its shape where they are equal: most attacks send all rules the
    same rows."""
    last: dict[torch.Size, tuple[torch.Tensor, Geometry]] = {}

    def geometry_of(updates: torch.Tensor) -> Geometry:
        rows, geometry = last.get(updates.shape, (None, None))
        if rows is None or geometry is None or not torch.equal(rows, updates):
            geometry = Geometry.of(updates)
            last[updates.shape] = updates, geometry
        return geometry

    return geometry_of


def _pair(
    cohort: Cohort,
    attack: str,
    malicious_client: UpdateAttack | None,
    name: str,
    rule: AggregationRule,
    geometry_of: Callable[[torch.Tensor], Geometry],
) -> Pair:
    try:
        there = (cohort.with_reference() if roots_of(rule) else cohort).round
        updates, context = there.updates.clone(), there.context()
        aggregated = aggregate_matrix(
            rule, malicious_client, updates, there.weights, there.malicious, context, geometry_of=geometry_of
        )
    except UserError as error:
        return Pair(attack, name, refusal=str(error))
    row, m = aggregated.row, int(there.malicious.sum())
    selected = row.get("selected_malicious")
    return Pair(
        attack,
        name,
        bias=row.get("bias"),
        relative_bias=row.get("relative_bias"),
        cosine=row.get("cosine"),
        norm=float(torch.linalg.vector_norm(aggregated.aggregate.update)),
        malicious_selected=selected / m if selected is not None and m else None,
        broken=row["broken"],
        seconds=row["seconds"],
        attack_seconds=None if aggregated.attack is None else aggregated.attack["seconds"],
    )
