"""The gradient rules of a scenario's parties."""

from __future__ import annotations

from raysplit.scenario.scenario import Scenario
from raysplit.training.gradient_rules import GradientRule, MeanGradient
from raysplit.training.parties import ServerGradientRule


def clips(scenario: Scenario) -> bool:
    """Whether clients clip gradients of single samples, for which their slots watch layers."""
    return scenario.privacy is not None and scenario.privacy.acts


def client_rule_of(scenario: Scenario) -> GradientRule:
    """The clients': ``MeanGradient`` unless ``Scenario.privacy`` says otherwise."""
    if scenario.privacy is None:
        return MeanGradient()
    return scenario.privacy.client_rule(scenario.training.batch_size)


def server_rule_of(scenario: Scenario) -> ServerGradientRule | None:
    """The main server's; None: the gradients of the batch's mean loss."""
    return None if scenario.privacy is None else scenario.privacy.server_rule(scenario.training.batch_size)
