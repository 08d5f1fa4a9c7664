"""Whether what ``DpFedAvg`` claims for whole clients holds in a scenario."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torch import nn

from raysplit.aggregation.rule import AggregationRule, all_parts
from raysplit.aggregation.rules.dp_fedavg import DpFedAvg
from raysplit.aggregation.update_attack import UpdateAttack
from raysplit.attacks.scheduled import singles
from raysplit.channels.channel import Channel
from raysplit.errors import ScenarioError
from raysplit.models.fixed import travelling_buffers
from raysplit.models.outline import outline
from raysplit.population.selection.draws import Poisson
from raysplit.protocols.as_published import AS_WRITTEN
from raysplit.scenario.privacy_check import UNCOVERED, seen_by
from raysplit.scenario.stragglers import Wait

if TYPE_CHECKING:
    from raysplit.scenario.scenario import Scenario


def averaged_sides(scenario: Scenario) -> dict[Channel, AggregationRule]:
    """The rule of each channel on which a server gathers what clients trained."""
    sides: dict[Channel, AggregationRule] = {}
    if scenario.protocol.client_sync == "averaging":
        sides[Channel.UPDATES] = scenario.defense
    if scenario.protocol.server == "replicas":
        sides[Channel.SERVER_UPDATES] = scenario.server_defense
    return sides


def private_rules(scenario: Scenario) -> dict[Channel, DpFedAvg]:
    """Those that clip and add noise for whole clients."""
    sides = averaged_sides(scenario).items()
    return {channel: rule for channel, rule in sides if isinstance(rule, DpFedAvg) and rule.acts}


def check_client_privacy(scenario: Scenario) -> None:
    """Raise ``ScenarioError`` where ``DpFedAvg`` stands where it cannot act, or claims what does not hold."""
    for rule in (scenario.defense, scenario.server_defense):
        inner = [part for part in all_parts(rule) if isinstance(part, DpFedAvg) and part is not rule]
        if inner and inner[0].acts:
            raise ScenarioError(
                f"DpFedAvg bounds what one client changes only where it aggregates by itself and from round 1 on, but it "
                f"stands within {type(rule).__name__}; give it as the rule itself"
            )
    rules = private_rules(scenario)
    if not rules:
        return
    if scenario.privacy is not None and scenario.privacy.acts:
        raise ScenarioError(
            "a run's ε is for samples or for clients, but both Scenario.privacy and DpFedAvg clip and add noise; leave "
            "one of them out"
        )
    if len({(rule.delta, rule.budget, rule.guarantee) for rule in rules.values()}) > 1:
        raise ScenarioError(
            "defense and server_defense share one ε, but their DpFedAvg have different delta, budget or guarantee; give "
            "them the same"
        )
    if any(rule.guarantee for rule in rules.values()):
        for why in _broken(scenario, rules):
            raise ScenarioError(f"{why}, or guarantee=False to claim nothing")


def _broken(scenario: Scenario, rules: dict[Channel, DpFedAvg]) -> Iterator[str]:
    """Sentences without their end: why the guarantee would not hold, and what would be right."""
    protocol = scenario.protocol
    name = type(protocol).__name__
    if protocol.published != AS_WRITTEN:
        yield f"DpFedAvg covers protocols as their papers have them, but {name} is asked to do as published code does; " \
              "leave as_published out"  # fmt: skip
    if protocol.server == "shared":
        yield (
            f"DpFedAvg covers what is averaged, but the server portion of {name} is shared and learns from smashed data "
            "without noise, and the gradients that it sends to all clients later tell of it; use FedAvg, or SplitFedV1 "
            "with DpFedAvg as server_defense too"
        )
    for channel in averaged_sides(scenario).keys() - rules.keys():
        side = "server_defense" if channel is Channel.SERVER_UPDATES else "defense"
        yield f"{name} also averages what arrives on {channel.value}, without noise; give DpFedAvg as {side} too"
    yield from _of_network(scenario)
    if isinstance(scenario.cohort.draw, Poisson) and scenario.cohort.at_least > 1:
        yield (
            "Cohort.at_least passes rounds over in which few clients report, which tells of who was drawn; with Poisson "
            "cohorts and DpFedAvg leave it 1"
        )
    if scenario.devices is not None and not isinstance(scenario.devices.stragglers, Wait):
        yield (
            f"{type(scenario.devices.stragglers).__name__} lets one client decide whether others are in time; use "
            "stragglers=Wait() with DpFedAvg"
        )
    if scenario.detection is not None:
        yield "Scenario.detection decides by messages without noise what is learned; leave detection out with DpFedAvg"
    for who, channels in _seen(scenario):
        seen = sorted(channel.value for channel in channels & (UNCOVERED | rules.keys()))
        if seen:
            yield (
                f"DpFedAvg protects the averaged model, but the adversary of {who} sees {', '.join(seen)}, which carry no "
                "noise; use another adversary"
            )


def _of_network(scenario: Scenario) -> Iterator[str]:
    for name, stage in outline(scenario.model):
        if any(
            isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training for module in stage.modules()
        ) or (any(True for _ in travelling_buffers(stage))):
            yield (
                f"DpFedAvg adds noise to parameters, but stage {name!r} of {type(scenario.model).__name__} has floating "
                "buffers, which are averaged without noise; use GroupNorm, or freeze it in evaluation mode"
            )


def _seen(scenario: Scenario) -> Iterator[tuple[str, frozenset[Channel]]]:
    """As for samples; an adversary who makes updates in the knowledge of everybody's sees them."""
    yield from seen_by(scenario)
    for attack in singles(scenario.attack):
        if isinstance(attack, UpdateAttack) and attack.threat_model.knowledge == "full":
            yield type(attack).__name__, attack.threat_model.changes
