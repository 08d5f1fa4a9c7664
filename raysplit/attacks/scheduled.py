"""When an attack is carried out: from a round on, once, or on and off."""

from __future__ import annotations

from raysplit.aggregation.update_attack import check_start_round
from raysplit.attacks.attack import Attack
from raysplit.channels.channel import ThreatModel
from raysplit.errors import ScenarioError
from raysplit.parts.part import part, within


@part
class Scheduled(Attack):
    """``attack`` in ``on`` rounds from ``start_round`` on, then rest for ``off`` rounds, and so on; ``off=None``: never
    again.

    ``Scheduled(attack, start_round=40)`` is a single shot in round 40, ``Scheduled(attack, on=5, off=5)`` an attack on
    and off. In the rounds of rest the malicious clients send their honest updates. The tables name the attack itself.
    Raises ScenarioError where the attack has a ``start_round`` of its own.
    """

    attack: Attack
    start_round: int = 1
    on: int = 1
    off: int | None = None

    def __post_init__(self) -> None:
        check_start_round("Scheduled", self.start_round)
        within("Scheduled.on", self.on, 1)
        if self.off is not None:
            within("Scheduled.off", self.off, 1)
        if self.attack.start_round != 1:
            raise ScenarioError(
                f"Scheduled.start_round says when {type(self.attack).__name__} starts; leave the attack's own "
                "start_round out"
            )

    @property
    def threat_model(self) -> ThreatModel:
        return self.attack.threat_model

    def parts(self) -> tuple[Attack, ...]:
        return (self.attack,)

    def acts_in(self, round: int) -> bool:
        since = round - self.start_round
        return since >= 0 and (since < self.on if self.off is None else since % (self.on + self.off) < self.on)

    def singles(self) -> tuple[Attack, ...]:
        return self.attack.singles()

    def in_force(self, round: int) -> tuple[Attack, ...]:
        return self.attack.in_force(round) if self.acts_in(round) else ()


def attacks_in_force(attack: Attack | None, round: int) -> tuple[Attack, ...]:
    """The single attacks that are carried out in a round: each from its ``start_round`` on, or when its schedule
    says."""
    return () if attack is None else attack.in_force(round)


def singles(attack: Attack | None) -> tuple[Attack, ...]:
    """The single attacks of a scenario, whenever they are carried out."""
    return () if attack is None else attack.singles()
