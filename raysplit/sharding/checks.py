"""What column shards can and cannot do for a scenario, said before anything is trained."""

from __future__ import annotations

from typing import Any

from raysplit.across import STRIPES
from raysplit.attacks.poisoning.poisoning import UpdateAttack, attack_shards
from raysplit.attacks.scheduled import singles
from raysplit.channels import Channel
from raysplit.defenses.aggregation.aggregation import AggregationRule, GeometryRule
from raysplit.defenses.aggregation.composed import LinearPreAggregation
from raysplit.defenses.aggregation.deferred import Deferred
from raysplit.errors import ScenarioError
from raysplit.scenario import Scenario


def check_shards(scenario: Scenario, shards: int) -> None:
    """Raise ``ScenarioError`` where a scenario's updates cannot be aggregated in ``shards`` column shards; 1 is the driver itself."""
    if not 1 <= shards <= STRIPES:
        raise ScenarioError(f"--shards must be at least 1 and at most {STRIPES}, but it is {shards}")
    if shards == 1:
        return
    wrong = _wrong(scenario)
    if wrong is not None:
        raise ScenarioError(f"{scenario.name} cannot be run with --shards {shards}: {wrong}")


def _wrong(scenario: Scenario) -> str | None:
    if scenario.protocol.meeting != "averaging":
        return f"{type(scenario.protocol).__name__} averages no client portions, so there is nothing to cut; leave --shards out"
    if scenario.record_updates_every is not None:
        return "recorded updates are written by one process; leave Scenario.record_updates_every or --shards out"
    whole = _whole_rule(scenario.defense)
    if whole is not None:
        return f"{whole}; leave --shards out or choose another rule, such as TrimmedMean or MultiKrum"
    for attack in singles(scenario.attack):
        why = _whole_attack(attack, scenario.defense)
        if why is not None:
            return why
    return None


def _whole_attack(attack: Any, rule: AggregationRule) -> str | None:
    """Why an attack on client updates cannot do without whole updates in one place, if it cannot."""
    if not isinstance(attack, UpdateAttack) or Channel.UPDATES not in attack.threat_model.changes:
        return None
    name = type(attack).__name__
    if not attack_shards(attack):
        return f"{name} does not say that it is shardable; leave --shards out or choose another attack, such as AgrTailored"
    if getattr(attack, "rehearses", False) and not rule.columnwise:
        return (
            f"{name} rehearses {type(rule).__name__}, which goes by whole updates; "
            "leave --shards out or choose a column-wise rule, such as TrimmedMean"
        )
    inner = getattr(attack, "attack", None)
    return None if inner is None else _whole_attack(inner, rule)


def _whole_rule(rule: AggregationRule) -> str | None:
    """Why a rule cannot do without whole updates in one place, if it cannot."""
    name = type(rule).__name__
    if isinstance(rule, Deferred):
        return _whole_rule(rule.rule)
    if not isinstance(rule, GeometryRule):
        return f"{name} has no over() (docs/how-to/defense.md), so it needs whole updates in one place"
    if getattr(rule, "remembers_clients", False):
        return f"{name} remembers an update of every client, in one place"
    for step in getattr(rule, "pre", ()):
        if not isinstance(step, LinearPreAggregation):
            return f"{type(step).__name__} has no mixing() (docs/how-to/defense.md), so it needs whole updates in one place"
    inner = getattr(rule, "rule", None)
    return None if inner is None else _whole_rule(inner)
