"""Which hooks act at whose end in a round, and what they hand back when it is over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch

from raysplit.attacks.inference.observe import ObservationHook
from raysplit.attacks.messages.hook_attack import AttackStart, HookAttack, path_of
from raysplit.attacks.messages.tampering import tampering_of
from raysplit.attacks.scheduled import attacks_in_force
from raysplit.channels.hooks import HookStart, MessageHook, PartyEnd
from raysplit.defenses.detection.client_hook import ClientDetectionHook
from raysplit.defenses.detection.hook import DetectionHook
from raysplit.engine.message_defenses import honest_hooks
from raysplit.engine.own_data import what_clients_know
from raysplit.memory.memory import SERVER_DETECTION, Memory, State
from raysplit.models.pixels import to_pixels
from raysplit.population.opening import open_population
from raysplit.protocols.outcome import Outcome
from raysplit.protocols.plan import RoundPlan
from raysplit.scenario.scenario import Scenario


def hooks_in_force(
    scenario: Scenario, plan: RoundPlan, memory: Mapping[str, State], attached: Sequence[MessageHook] = ()
) -> list[MessageHook]:
    """All parties' hooks of a round, in the order in which they get a message: what honest parties do comes first, then
    what malicious ones do, then what an adversary observes, then hooks ``attached`` from code. ``memory``: of whoever is played in this process."""
    found: list[MessageHook] = list(honest_hooks(scenario, plan))
    detection = scenario.detection
    if detection is not None and plan.detects:
        if detection.at_server:
            found.append(DetectionHook(detection, dict(memory.get(SERVER_DETECTION, {})), scenario.model.classes))
        if detection.at_clients:
            found.append(ClientDetectionHook(detection, what_clients_know(scenario, plan), memory))
    for party in ("clients", "main_server"):
        tampering = tampering_of(scenario.attack, party, plan.seed, plan.round, scenario.model.classes, plan.malicious)
        if tampering is not None:
            found.append(tampering)
    found.extend(_learning(scenario, plan, memory))
    observe = scenario.observe
    if observe is not None and plan.round in observe.rounds:
        found.append(ObservationHook.of(observe, scenario.training.batch_size))
    if attached:
        start = HookStart(plan.seed, plan.round, scenario.model.classes, Memory(memory))
        found.extend(hook.opened(start) for hook in attached)
    return found


def _learning(scenario: Scenario, plan: RoundPlan, memory: Mapping[str, State]) -> Iterator[MessageHook]:
    """Hooks of attacks that act through one of their own."""
    for number, attack in enumerate(attacks_in_force(scenario.attack, plan.round)):
        if isinstance(attack, HookAttack):
            yield attack.hook(
                AttackStart(
                    plan.seed,
                    plan.round,
                    number,
                    scenario.model.input_shape,
                    scenario.model.classes,
                    lambda x: to_pixels(x, scenario.pixels, scenario.training.dtype, torch.device("cpu")),
                    lambda: open_population(scenario.population),
                    dict(memory.get(path_of(attack), {})),
                )
            )


def take_end(outcome: Outcome, *ends: PartyEnd) -> None:
    """What the hooks at some ends did, saw and remember becomes part of the round's outcome."""
    for end in ends:
        outcome.observations.extend(end.observations)
        for hook in end.hooks:
            outcome.memory.update(hook.memory())
            for kind, records in hook.records().items():
                outcome.hook_records.setdefault(kind, {}).update(records)
