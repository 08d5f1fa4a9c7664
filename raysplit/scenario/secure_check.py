"""What secure aggregation rules out: whatever would have to see single updates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raysplit.aggregation.rule import all_parts
from raysplit.aggregation.rules.secure_aggregation import SecureAggregation
from raysplit.aggregation.update_attack import UpdateAttack
from raysplit.attacks.scheduled import singles
from raysplit.channels.channel import Channel
from raysplit.errors import ScenarioError
from raysplit.models.fixed import travelling_buffers
from raysplit.models.outline import outline
from raysplit.protocols.requirements import as_written, synchrony_is

if TYPE_CHECKING:
    from raysplit.scenario.scenario import Scenario

_REQUIRED = (
    synchrony_is(
        "synchronous",
        otherwise="{component} adds up the masked updates of clients that agreed on their masks in one round, but those of "
        "{protocol} arrive when they may; use a synchronous protocol such as SplitFedV2",
    ),
    as_written(
        "{component} goes with protocols as their papers have them, but {protocol} is asked to do as published code does; "
        "leave as_published out"
    ),
)


def check_secure_aggregation(scenario: Scenario) -> None:
    """Raise ``ScenarioError`` where a scenario with ``SecureAggregation`` has a part that it leaves nothing to see."""
    for rule in (scenario.defense, scenario.server_defense):
        if any(isinstance(one, SecureAggregation) for one in all_parts(rule) if one is not rule):
            raise ScenarioError(
                f"{type(rule).__name__} judges or mixes single updates, but under SecureAggregation nobody sees any: only "
                "their sum is opened; give SecureAggregation as the rule itself, or leave it out"
            )
    if isinstance(scenario.server_defense, SecureAggregation):
        raise ScenarioError(
            "SecureAggregation hides clients' updates from the fed server, but server replicas lie with the main server, "
            "which has them all; leave it out of server_defense"
        )
    secure = scenario.defense
    if not isinstance(secure, SecureAggregation):
        return
    for requirement in _REQUIRED:
        requirement.check(secure, scenario.setting)
    if scenario.record_updates_every is not None:
        raise ScenarioError(
            "Scenario.record_updates_every keeps the updates that the fed server receives, but under SecureAggregation "
            "they are masked and say nothing; leave record_updates_every out"
        )
    if scenario.devices is not None:
        raise ScenarioError(
            "Scenario.devices computes when plain updates arrive, but SecureAggregation takes four exchanges of messages; "
            "leave devices out"
        )
    for attack in singles(scenario.attack):
        model = attack.threat_model
        if isinstance(attack, UpdateAttack) and model.knowledge == "full" and Channel.UPDATES in model.changes:
            raise ScenarioError(
                f"{type(attack).__name__} knows the updates of all benign clients, but under SecureAggregation nobody sees "
                "any but its own; use an attack with partial knowledge"
            )
    for name, stage in outline(scenario.model):
        if any(True for _ in travelling_buffers(stage)):
            raise ScenarioError(
                f"SecureAggregation masks parameters, but stage {name!r} of {type(scenario.model).__name__} has floating "
                "buffers, which would be averaged in the open; use GroupNorm, or freeze it in evaluation mode"
            )
