"""Checks before training: whether column shards can aggregate a scenario's updates, and whether their matrix fits into
memory without them."""

from __future__ import annotations

from pathlib import Path

from raysplit.aggregation.across import STRIPES
from raysplit.aggregation.rule import AggregationRule
from raysplit.aggregation.update_attack import UpdateAttack
from raysplit.channels.channel import Channel
from raysplit.errors import ClusterError, ScenarioError
from raysplit.memory.global_state import GlobalState
from raysplit.scenario.scenario import Scenario


def check_shards(scenario: Scenario, shards: int) -> None:
    """Raise ``ScenarioError`` where a scenario's updates cannot be aggregated in ``shards`` column shards; with 1 the
    driver aggregates."""
    if not 1 <= shards <= STRIPES:
        raise ScenarioError(f"--shards must be at least 1 and at most {STRIPES}, but it is {shards}")
    if shards == 1:
        return
    obstacle = _obstacle(scenario)
    if obstacle is not None:
        raise ScenarioError(f"{scenario.name} cannot be run with --shards {shards}: {obstacle}")


def check_memory(scenario: Scenario, start: GlobalState, shards: int) -> None:
    """Raise ``ClusterError`` where the updates of one round, gathered in this process, need more memory than is free on
    its machine.

    ``start``: the model's portions. Nothing is checked for column ``shards``, nor where the system does not say how
    much is free (``/proc/meminfo``).
    """
    free = _free_bytes()
    floats = 0
    if shards == 1 and _gathers(scenario.defense, scenario, Channel.UPDATES):
        floats += start.client.numel()
    if _gathers(scenario.server_defense, scenario, Channel.SERVER_UPDATES):
        floats += start.server.numel()
    needed = scenario.cohort.size * floats * start.client.element_size()
    if free is not None and needed > free:
        raise ClusterError(
            f"{scenario.name} gathers {scenario.cohort.size:,} updates of {floats:,} numbers in one process, "
            f"{needed / 2**30:.1f} GiB, but only {free / 2**30:.1f} GiB of this machine's memory are free; choose a "
            "smaller cohort, or --shards on a cluster that has the memory"
        )


def _gathers(rule: AggregationRule, scenario: Scenario, channel: Channel) -> bool:
    """Whether some round's updates on ``channel`` may be needed one by one."""
    recorded = channel is Channel.UPDATES and scenario.record_updates_every is not None
    needed = not rule.takes_partial_sums or recorded or bool(_attacks_on(scenario, channel))
    return channel in scenario.protocol.channels and needed


def _attacks_on(scenario: Scenario, channel: Channel) -> list[UpdateAttack]:
    """The attacks on updates that change ``channel`` in some round."""
    singles = () if scenario.attack is None else scenario.attack.singles()
    attacks = (single for single in singles if isinstance(single, UpdateAttack))
    return [found for attack in attacks if (found := attack.on(channel)) is not None]


def _free_bytes() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return None


def _obstacle(scenario: Scenario) -> str | None:
    """Why column shards cannot serve a scenario, and what would help; None where they can."""
    if scenario.protocol.client_sync != "averaging":
        return (
            f"{type(scenario.protocol).__name__} averages no client portions, so there is nothing to cut; leave "
            "--shards out"
        )
    if scenario.record_updates_every is not None:
        return "recorded updates are written by one process; leave Scenario.record_updates_every or --shards out"
    why = scenario.defense.needs_whole_updates()
    if why is not None:
        return f"{why}; leave --shards out or choose another rule, such as TrimmedMean or MultiKrum"
    for attack in _attacks_on(scenario, Channel.UPDATES):
        why = _attack_obstacle(attack, scenario.defense)
        if why is not None:
            return why
    return None


def _attack_obstacle(attack: UpdateAttack, rule: AggregationRule) -> str | None:
    """Why column shards cannot serve an attack on client updates or one within it; None where they can."""
    within = (why for part in attack.parts() if (why := _attack_obstacle(part, rule)) is not None)
    name = type(attack).__name__
    if (why := next(within, None)) is not None:
        return why
    if not attack.shardable:
        return (
            f"{name} does not say that it is shardable; leave --shards out or choose another attack, such as "
            "AgrTailored"
        )
    if attack.simulates_rule and not rule.columnwise:
        return (
            f"{name} simulates {type(rule).__name__}, which goes by whole updates; "
            "leave --shards out or choose a column-wise rule, such as TrimmedMean"
        )
    return None
