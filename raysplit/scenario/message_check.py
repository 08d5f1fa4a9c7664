"""Whether the defences of messages go with the rest of a scenario, and with each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raysplit.defenses.messages.message_defense import (
    GradientDefense,
    LabelDefense,
    LossDefense,
    SmashedDefense,
    of_smashed,
)
from raysplit.errors import ScenarioError

if TYPE_CHECKING:
    from raysplit.scenario.scenario import Scenario

_KINDS = (SmashedDefense, GradientDefense, LossDefense, LabelDefense)


def check_message_defenses(scenario: Scenario) -> None:
    """Raise ``ScenarioError`` where one of ``Scenario.message_defenses`` cannot act as it is meant."""
    for defense in scenario.message_defenses:
        name = type(defense).__name__
        if not isinstance(defense, _KINDS):
            raise ScenarioError(
                f"{name} does not say on what it acts: derive it from SmashedDefense, GradientDefense, LossDefense or "
                "LabelDefense"
            )
        for requirement in defense.requires:
            requirement.check(defense, scenario.setting)
        if defense.mixes_samples and scenario.privacy is not None and scenario.privacy.acts:
            raise ScenarioError(
                f"{name} lets samples of a batch change each other's gradients, so clipping those of single samples no "
                "longer bounds what one sample changes; leave out privacy or the other"
            )
    smashed = of_smashed(scenario.message_defenses)
    for _, defense in smashed[:-1]:
        if defense.sample_bytes(8, 4) is not None:
            raise ScenarioError(
                f"{type(defense).__name__} says how smashed data are encoded, so it comes last, but "
                f"{type(smashed[-1][1]).__name__} comes after it; exchange them"
            )
