"""How a round's updates on one channel become the next portion: client portions on ``updates``, server replicas on
``server_updates``.

1. task: what is known before the updates come, from the scenario, the plan and the state (``aggregation_task``);
2. gather: Δ_k = W_k − W for every client k whose portion has arrived;
3. poison: malicious rows are replaced by what the attack in force sends;
4. aggregate: W + AGR(Δ), by the rule in force;
5. server optimiser: the aggregate, or one optimiser step towards it (``next_portion``).

Where the rule in force is the weighted mean, nobody poisons and nothing is recorded (``gathers_rows`` is false), steps
2 to 4 are Σ_k p_k W_k, taken literally from the partial sums of client groups. Where updates lie in column shards, the
engine has carried out steps 2 to 4 with the same task, and handed the result back with the outcome.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from raysplit.aggregation.columns import Whole
from raysplit.aggregation.fed_server import AggregationResult, aggregate, average_portions
from raysplit.aggregation.poisoning import poison
from raysplit.aggregation.rule import AggregationRule, RoundContext, rule_stream
from raysplit.aggregation.server_optimizer import ServerOptimizer
from raysplit.aggregation.task import AggregationTask
from raysplit.aggregation.update_attack import UpdateAttack
from raysplit.channels.channel import Channel
from raysplit.memory.global_state import GlobalState
from raysplit.memory.memory import LAST_MOVE, Memory, State, aggregate_optimizer_path, rule_path
from raysplit.population.selection.cohort import SampledCohort
from raysplit.protocols.outcome import Outcome
from raysplit.protocols.plan import RoundPlan
from raysplit.scenario.layout import Layout
from raysplit.scenario.scenario import Scenario
from raysplit.storage.updates import RecordedRound

Record = Callable[[RecordedRound], object]
"""What is done with a recorded round: it is written beside the checkpoints, or nothing."""


@dataclass(frozen=True)
class Side:
    """What a round knows, when it begins, of the portions that are aggregated on ``channel``.

    ``portion``: [d + b], of which the first ``parameters`` = d floats are parameters, the others buffers. ``memory``:
    the rule's, from the round before. ``root``: [d + b], the portion that the rule's root clients trained, where it
    names some. ``last_move``: [d + b], by how much the round before moved the portion, for an attack that asks for it.
    """

    channel: Channel
    portion: torch.Tensor
    parameters: int
    memory: State
    root: torch.Tensor | None = None
    last_move: torch.Tensor | None = None

    @staticmethod
    def of(channel: Channel, state: GlobalState, layout: Layout, roots: Mapping[Channel, torch.Tensor]) -> Side:
        """One side of the ``state`` with which a round begins. ``roots``: what root clients trained, by channel."""
        root, memory = roots.get(channel), state.memory.get(rule_path(channel.value), {})
        if channel is Channel.SERVER_UPDATES:
            return Side(channel, state.server, layout.server.parameters, memory, root)
        last_move = state.memory.get(LAST_MOVE, {}).get("move")
        return Side(channel, state.client, layout.client.parameters, memory, root, last_move)


def aggregation_task(scenario: Scenario, plan: RoundPlan, sampled: SampledCohort, side: Side) -> AggregationTask:
    """Step 1. ``sampled``: the clients that report, of which with an asynchronous protocol only some finish in this
    round."""
    positions = arriving(plan) if side.channel is Channel.UPDATES else list(range(plan.reporting))
    if len(positions) < plan.reporting:
        sampled = SampledCohort(sampled.clients[positions], sampled.malicious[positions])
    d = side.parameters
    context = RoundContext(
        plan.round,
        sampled.clients,
        scenario.cohort.assumed_among(len(sampled.clients)),
        int(sampled.malicious.sum()),
        rule_stream(plan.seed, plan.round, side.channel),
        side.memory,
        None if side.root is None else (side.root - side.portion)[:d],
        side.portion[:d],
        plan.clients[plan.reporting :],
        None if alike(scenario) else plan.samples[positions],
        None if side.last_move is None else side.last_move[:d],
    )
    return AggregationTask(
        side.channel,
        rule_on(scenario, side.channel, plan.round),
        update_attack_in(scenario, plan.round, sampled, side.channel),
        torch.from_numpy(plan.weights[positions]).to(side.portion.dtype),
        torch.from_numpy(sampled.malicious),
        context,
        tuple(positions),
        side.portion,
        d,
    )


def aggregate_side(
    scenario: Scenario,
    plan: RoundPlan,
    task: AggregationTask,
    outcome: Outcome,
    record: Record,
    sharded: AggregationResult | None = None,
    record_always: bool = False,
) -> AggregationResult:
    """Steps 2 to 4. ``record``: called with the round's updates in rounds that are recorded, and in others whose updates
    are gathered with ``record_always``. ``sharded``: what column shards made of the client portions, which they have.

    The rows of ``outcome`` are taken out of it, so that portions and updates never fill the memory at once. The
    result's ``update_norms`` have a value for every client that reports, NaN where none came yet. Raises
    ``ScenarioError`` as the attack and the rule do.
    """
    at_server = task.channel is Channel.SERVER_UPDATES
    if not (plan.server_rows if at_server else plan.rows):
        return average_portions(task, outcome.server_sums if at_server else outcome.client_sums)
    if sharded is not None and not at_server:
        result = sharded
    else:
        rows = outcome.server_rows if at_server else outcome.client_rows
        kept = record if record_always or records_updates(scenario, task.round) else None
        result = _aggregate_rows(scenario, task, rows, kept)
    return replace(result, update_norms=_by_position(result.update_norms, task, plan))


def _aggregate_rows(
    scenario: Scenario, task: AggregationTask, rows: dict[int, torch.Tensor], record: Record | None
) -> AggregationResult:
    """Portions by position, [d + b] each, are gathered, poisoned and aggregated in this process; ``rows`` is empty
    after it."""
    updates = task.portion.new_empty(len(task.positions), len(task.portion))
    for row, position in enumerate(task.positions):
        torch.sub(rows.pop(position), task.portion, out=updates[row])
    parameters = updates[:, : task.parameters]
    honest = parameters[task.malicious] if record is not None and task.attack is not None else parameters[:0]
    poisoned = poison(task, updates)
    result = aggregate(task, Whole(parameters), poisoned)
    if record is not None:
        record(_recorded(scenario, task, parameters, honest))
    return result


def _recorded(scenario: Scenario, task: AggregationTask, updates: torch.Tensor, honest: torch.Tensor) -> RecordedRound:
    context = task.context
    received = task.rule.received(updates, task.rule_context())
    if received is not updates:
        honest = honest[:0]  # nobody receives what malicious clients would have sent either
    return RecordedRound(
        round=task.round,
        seed=scenario.seed,
        scenario=scenario.hash,
        assumed=context.assumed,
        attacked=task.attack is not None,
        updates=received,
        honest=honest,
        weights=task.weights,
        clients=context.clients,
        malicious=task.malicious,
        portion=task.portion[: task.parameters],
        reference=context.reference,
        channel=task.channel,
    )


def _by_position(norms: np.ndarray | None, task: AggregationTask, plan: RoundPlan) -> np.ndarray | None:
    """Norms of the updates that came → one a client that reports, float64, NaN where none came yet."""
    if norms is None or len(norms) == plan.reporting:
        return norms
    spread = np.full(plan.reporting, np.nan)
    spread[list(task.positions)] = norms
    return spread


def next_portion(
    scenario: Scenario, task: AggregationTask, result: AggregationResult, memory: Mapping[str, State]
) -> tuple[torch.Tensor, Memory]:
    """Step 5: the next portion [d + b], and what the rule and the server optimiser remember. ``memory``: with which the
    round began."""
    rule, optimizer = rule_path(task.channel.value), aggregate_optimizer_path(task.channel.value)
    step = server_optimizer(scenario, task.round).step
    portion, state = step(task.portion, result.portion, task.parameters, memory.get(optimizer))
    return portion, {rule: result.memory, optimizer: state}


def alike(scenario: Scenario) -> bool:
    """Whether clients weigh alike, whatever they have."""
    return scenario.privacy is not None and scenario.privacy.weights == "equal"


def server_optimizer(scenario: Scenario, round: int) -> ServerOptimizer:
    """The optimiser on aggregates with its learning rate of a round; without ``Training.aggregate`` plain averaging."""
    training = scenario.training
    if training.aggregate is None:
        return ServerOptimizer()
    factor = 1.0 if training.schedule is None else training.schedule.factor(round, training.rounds)
    return ServerOptimizer(training.aggregate.optimizer, training.aggregate.lr * factor)


def arriving(plan: RoundPlan) -> list[int]:
    """Positions of the clients whose portions arrive in this round: those that report, and finish in it."""
    return [position for position in range(plan.reporting) if plan.finishes(position)]


def rule_on(scenario: Scenario, channel: Channel, round: int) -> AggregationRule:
    """The rule in force in a round for client portions, or for server replicas."""
    rule = scenario.server_defense if channel is Channel.SERVER_UPDATES else scenario.defense
    return rule.in_force(round)


def update_attack_in(
    scenario: Scenario, round: int, sampled: SampledCohort, channel: Channel = Channel.UPDATES
) -> UpdateAttack | None:
    """The attack on ``channel``'s updates in force in a round, if there are malicious clients to carry it out."""
    if scenario.attack is None or not sampled.malicious.any():
        return None
    attacks = (attack for attack in scenario.attack.in_force(round) if isinstance(attack, UpdateAttack))
    return next((found for attack in attacks if (found := attack.on(channel)) is not None), None)


def gathers_rows(scenario: Scenario, round: int, sampled: SampledCohort, channel: Channel = Channel.UPDATES) -> bool:
    """Whether a round's portions are needed one by one: for a rule other than the mean, for an attack, or for the
    record."""
    if not rule_on(scenario, channel, round).takes_partial_sums or records_updates(scenario, round):
        return True
    return update_attack_in(scenario, round, sampled, channel) is not None


def records_updates(scenario: Scenario, round: int) -> bool:
    """Whether a round's matrix of updates is kept."""
    every = scenario.record_updates_every
    return every is not None and round % every == 0
