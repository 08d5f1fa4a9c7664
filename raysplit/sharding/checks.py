"""What column shards can and cannot do for a scenario, said before anything is trained."""

from __future__ import annotations

from raysplit.attacks.poisoning.poisoning import attack_shards
from raysplit.columns import STRIPES
from raysplit.defenses.aggregation.aggregation import rule_shards
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
    if not rule_shards(scenario.defense):
        return f"{type(scenario.defense).__name__} needs whole updates in one place; leave --shards out or choose another rule, such as TrimmedMean"
    if scenario.attack is not None and not attack_shards(scenario.attack):
        return f"{type(scenario.attack).__name__} needs whole updates in one place; leave --shards out or choose another attack, such as AgrTailored"
    return None
