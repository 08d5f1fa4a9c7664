"""Whether an attack can be carried out as a scenario means it."""

from __future__ import annotations

from collections.abc import Sequence

from raysplit.aggregation.update_attack import UpdateAttack
from raysplit.attacks.attack import Attack
from raysplit.attacks.data.poisoning import check_data_attacks
from raysplit.attacks.messages.message_attack import MessageAttack, check_answers, check_message_attack
from raysplit.attacks.scheduled import singles
from raysplit.channels.channel import Channel
from raysplit.errors import ScenarioError
from raysplit.models.network import ModelSpec
from raysplit.population.selection.cohort import Cohort
from raysplit.protocols.protocol import TrainingProtocol
from raysplit.training.settings import Training

KINDS = {"poison": "updates", "poison_samples": "training data", "alter": "messages"}


def check_attacks(
    attack: Attack | None,
    success_of: Attack | None,
    protocol: TrainingProtocol,
    channels: Sequence[Channel],
    cohort: Cohort,
    training: Training,
    model: ModelSpec,
) -> None:
    """Raise ScenarioError where an attack cannot be carried out, or the success of one not be measured."""
    if attack is not None:
        check_attack(attack, protocol, channels, cohort, training.rounds)
    check_data_attacks(attack, success_of, model)
    for single in singles(success_of):
        if isinstance(single, MessageAttack):  # it is tried where it would be carried out
            _check_reach(single, protocol, channels)
    check_answers(attack, training.batch_size, training.local_epochs)


def check_attack(
    attack: Attack, protocol: TrainingProtocol, channels: Sequence[Channel], cohort: Cohort, rounds: int
) -> None:
    """Raise ScenarioError where a channel is missing, nobody is malicious, or training ends before the attack
    starts."""
    for single in singles(attack):
        name = type(single).__name__
        if not any(hasattr(single, method) for method in KINDS):
            raise ScenarioError(
                f"{name} says when it attacks but not what: it needs one of "
                f"{', '.join(f'{method}() for {what}' for method, what in KINDS.items())}"
            )
        _check_reach(single, protocol, channels)
        if cohort.malicious == 0 and single.threat_model.party == "clients":
            raise ScenarioError(
                f"{name} needs malicious clients, but Cohort.malicious is 0; give a share such as 0.2 or leave attack "
                "out"
            )
    for channel in (Channel.UPDATES, Channel.SERVER_UPDATES):
        makers = [
            type(s).__name__
            for s in singles(attack)
            if isinstance(s, UpdateAttack) and channel in s.threat_model.changes
        ]
        if len(makers) > 1:
            raise ScenarioError(
                f"one attack at most can make the {channel.value} of malicious clients, but {' and '.join(makers)} "
                "both would; choose one"
            )
    if attack.start_round > rounds:
        raise ScenarioError(
            f"{type(attack).__name__} starts in round {attack.start_round}, but training ends after round {rounds}"
        )


def _check_reach(single: Attack, protocol: TrainingProtocol, channels: Sequence[Channel]) -> None:
    model = single.threat_model
    for channel in sorted(model.changes | model.sees):
        if channel not in channels:
            raise ScenarioError(
                f"{type(single).__name__}'s threat model names the channel '{channel.value}', which "
                f"{type(protocol).__name__} does not have; "
                f"its channels are {', '.join(c.value for c in channels) or 'none'}"
            )
    if isinstance(single, MessageAttack):
        check_message_attack(single, protocol)
