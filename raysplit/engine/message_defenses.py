"""Where a scenario's defences of messages act in a round, and who does not obey them."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from raysplit.aggregation.update_attack import UpdateAttack
from raysplit.attacks.data.data_attack import DataAttack
from raysplit.attacks.scheduled import attacks_in_force
from raysplit.channels.hooks import MessageHook
from raysplit.defenses.messages.gradients import GradientDefenseHook
from raysplit.defenses.messages.labels import released
from raysplit.defenses.messages.losses import AddedLoss
from raysplit.defenses.messages.message_defense import of_gradients, of_losses, of_smashed
from raysplit.defenses.messages.smashed import SmashedDefenseHook, SmashedInUse
from raysplit.population.population import Samples
from raysplit.protocols.plan import RoundPlan
from raysplit.scenario.scenario import Scenario
from raysplit.training.gradient_rules import GradientRule


def exempt(scenario: Scenario, plan: RoundPlan) -> Collection[int]:
    """The clients that do as they like with their messages in a round: those that an attack in force lets change them or
    take their own split steps. Clients that poison data or updates alone send what the others would."""
    for attack in attacks_in_force(scenario.attack, plan.round):
        if attack.threat_model.party == "clients" and not isinstance(attack, UpdateAttack | DataAttack):
            return plan.malicious
    return ()


def honest_hooks(scenario: Scenario, plan: RoundPlan) -> Iterator[MessageHook]:
    """The hooks of a round that carry out defences of smashed data and of gradients. A malicious main server, while an
    attack of its own is in force, has none."""
    seed, classes, u_shaped = plan.seed, scenario.model.classes, scenario.protocol.u_shaped
    smashed = of_smashed(scenario.message_defenses)
    if smashed:
        yield SmashedDefenseHook(smashed, seed, classes, exempt(scenario, plan))
    gradients = of_gradients(scenario.message_defenses)
    in_force = attacks_in_force(scenario.attack, plan.round)
    malicious_server = any(attack.threat_model.party == "main_server" for attack in in_force)
    if gradients and (u_shaped or not malicious_server):
        yield GradientDefenseHook(gradients, seed, classes, u_shaped, exempt(scenario, plan))


def defended_loss(scenario: Scenario, plan: RoundPlan, rule: GradientRule) -> GradientRule:
    """``rule`` with what honest clients add to their loss."""
    terms = of_losses(scenario.message_defenses)
    return AddedLoss(rule, terms, exempt(scenario, plan)) if terms else rule


def released_labels(scenario: Scenario, own: Samples, client: int) -> Samples:
    """What an honest client trains on, of its training set."""
    return released(scenario.message_defenses, own, client, scenario.model.classes, scenario.seed)


def in_evaluation(scenario: Scenario, first_client: int) -> SmashedInUse | None:
    """What becomes of smashed data while a chunk of clients, of which this is the first, is evaluated: the same noise in
    each evaluation. None: nothing."""
    smashed = of_smashed(scenario.message_defenses)
    if not smashed:
        return None
    return SmashedInUse(smashed, scenario.seed, scenario.model.classes, "evaluation", first_client)
