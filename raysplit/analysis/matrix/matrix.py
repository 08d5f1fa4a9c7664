"""Every attack against every rule on one matrix of updates."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from raysplit.aggregation.fed_server import apply_rule
from raysplit.aggregation.geometry import Geometry
from raysplit.aggregation.poisoning import poison
from raysplit.aggregation.rule import AggregationRule
from raysplit.aggregation.task import AggregationTask
from raysplit.aggregation.update_attack import UpdateAttack
from raysplit.analysis.matrix.honest_updates import HELD_OUT, HonestUpdates
from raysplit.errors import UserError
from raysplit.storage.updates import RecordedRound
from raysplit.threads import one_thread

NO_ATTACK = "none"


@dataclass(frozen=True)
class Pair:
    """How a rule does under an attack. ``bias``: ‖AGR - μ_b‖₂ with μ_b the mean of the benign rows; ``relative_bias``:
    over ‖μ_b‖₂.

    ``malicious_selected``: share of the malicious rows that the rule selected, where it selects whole rows.
    ``seconds``: of the rule, and ``attack_seconds`` of the attack, on one thread of this CPU; what rules share
    (geometry.py) is counted to the first that asks. ``refusal``: why there are no numbers, in the part's own words.
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
def attack_matrix(
    honest: HonestUpdates,
    attacks: Mapping[str, UpdateAttack],
    rules: Mapping[str, AggregationRule],
    notes: tuple[str, ...] = (),
    watch: Callable[[str, str], None] = lambda attack, rule: None,
) -> Matrix:
    """Every attack, and none, against every rule, on the same honest updates. A pair that cannot be is a refusal, not
    an error.

    Rules that remember begin with nothing; every pair has the same random streams, those of the run that was recorded.
    ``notes``: of the caller, put after those of the updates. ``watch``: called with the names of a pair before it is
    tried.
    """
    notes = (*honest.notes, *notes)
    if attacks and not bool(honest.round.malicious.any()):
        attacks, notes = {}, (*notes, "Nobody is malicious here, so no attack was carried out.")
    if honest.round.reference is None and any(rule.roots for rule in rules.values()):
        who = ", ".join(name for name, rule in rules.items() if rule.roots)
        notes = (*notes, f"{who}: the reference is the mean of {HELD_OUT} benign rows, which this column goes without.")
    tried: dict[str, UpdateAttack | None] = {NO_ATTACK: None, **attacks}
    pairs = []
    geometry_of = _shared_geometry()
    for attack_name, attack in tried.items():
        for rule_name, rule in rules.items():
            watch(attack_name, rule_name)
            try:
                measured = _measured(honest, attack, rule, geometry_of)
            except UserError as error:
                measured = {"refusal": str(error)}
            pairs.append(Pair(attack_name, rule_name, **measured))
    return Matrix(honest.title, tuple(tried), tuple(rules), tuple(pairs), notes)


def _shared_geometry() -> Callable[[torch.Tensor], Geometry]:
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


def _measured(
    honest: HonestUpdates,
    attack: UpdateAttack | None,
    rule: AggregationRule,
    geometry_of: Callable[[torch.Tensor], Geometry],
) -> dict[str, Any]:
    """The fields of a ``Pair`` that was tried."""
    round = (honest.with_reference() if rule.roots else honest).round
    task, updates = _task(round, attack, rule), round.updates.clone()
    poisoned = poison(task, updates)
    applied = apply_rule(task, geometry_of(updates))
    record, m = applied.record, int(round.malicious.sum())
    selected = record.get("selected_malicious")
    return {
        "bias": record.get("bias"),
        "relative_bias": record.get("relative_bias"),
        "cosine": record.get("cosine"),
        "norm": float(torch.linalg.vector_norm(applied.aggregate.update)),
        "malicious_selected": selected / m if selected is not None and m else None,
        "broken": record["broken"],
        "seconds": record["seconds"],
        "attack_seconds": None if poisoned.attack is None else poisoned.attack["seconds"],
    }


def _task(round: RecordedRound, attack: UpdateAttack | None, rule: AggregationRule) -> AggregationTask:
    n, d = round.updates.shape
    return AggregationTask(
        round.channel,
        rule,
        attack,
        round.weights,
        round.malicious,
        round.context(),
        tuple(range(n)),
        round.portion,
        parameters=d,
    )
