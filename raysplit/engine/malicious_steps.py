"""Which clients of a host do something else with their batches than the protocol says, and what they hand back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from raysplit.attacks.scheduled import attacks_in_force
from raysplit.attacks.steps.played_steps import PlayedSteps
from raysplit.attacks.steps.step_attack import StepAttack, StepStart, path_of
from raysplit.memory.memory import State
from raysplit.models.pixels import RANGES
from raysplit.protocols.outcome import Outcome
from raysplit.protocols.plan import RoundPlan
from raysplit.scenario.scenario import Scenario


def malicious_steps_of(
    scenario: Scenario, plan: RoundPlan, groups: Sequence[int], memory: Mapping[str, State]
) -> dict[int, PlayedSteps]:
    """Client id → its split steps in a round, of the malicious clients in ``groups`` whose attack takes them."""
    found: dict[int, PlayedSteps] = {}
    low, high = RANGES[scenario.pixels]
    for number, attack in enumerate(attacks_in_force(scenario.attack, plan.round)):
        if not isinstance(attack, StepAttack):
            continue
        for client in sorted(int(plan.clients[position]) for group in groups for position in plan.groups[group]):
            if client not in plan.malicious:
                continue
            start = StepStart(
                plan.seed,
                plan.round,
                client,
                plan.malicious[client],
                scenario.model.input_shape,
                low,
                high,
                scenario.model.classes,
                scenario.protocol.u_shaped,
                dict(memory.get(path_of(attack, client), {})),
            )
            found[client] = PlayedSteps(attack, number, start)
    return found


def take_steps(outcome: Outcome, steps: Mapping[int, PlayedSteps]) -> None:
    """What malicious clients have learned and done becomes part of the round's outcome."""
    for played in steps.values():
        outcome.memory.update(played.memory())
        outcome.hook_records.setdefault("tampered", {}).update(played.records())
