"""When an attack is carried out: from a round on, once, or on and off."""

from __future__ import annotations

from typing import ClassVar

from raysplit.attacks.poisoning.poisoning import Poison, UpdateAttack, UpdateView, check_start_round
from raysplit.channels import ThreatModel
from raysplit.errors import ScenarioError
from raysplit.parts import part, within


@part
class Scheduled:
    """``attack`` in ``on`` rounds from ``start_round`` on, then rest for ``off`` rounds, and so on; ``off=None``: never again.

    ``Scheduled(attack, start_round=40)`` is a single shot in round 40, ``Scheduled(attack, on=5, off=5)`` an attack on and off. In the rounds
    of rest the malicious clients send their honest updates. The tables name the attack itself. Raises ScenarioError where the attack
    has a ``start_round`` of its own.
    """

    attack: UpdateAttack
    start_round: int = 1
    on: int = 1
    off: int | None = None
    shardable: ClassVar[bool] = True  # if the attack inside is

    def __post_init__(self) -> None:
        check_start_round("Scheduled", self.start_round)
        within("Scheduled.on", self.on, 1)
        if self.off is not None:
            within("Scheduled.off", self.off, 1)
        if self.attack.start_round != 1:
            raise ScenarioError(
                f"Scheduled.start_round says when {type(self.attack).__name__} starts; leave the attack's own start_round out"
            )

    @property
    def threat_model(self) -> ThreatModel:
        return self.attack.threat_model

    def active(self, round: int) -> bool:
        """Whether the attack is carried out in a round, 1-based."""
        since = round - self.start_round
        return since >= 0 and (since < self.on if self.off is None else since % (self.on + self.off) < self.on)

    def poison(self, view: UpdateView) -> Poison:
        return self.attack.poison(view)


def attack_in_force(attack: UpdateAttack, round: int) -> UpdateAttack | None:
    """The attack that is carried out in a round: itself from its ``start_round`` on, or what a schedule says."""
    while isinstance(attack, Scheduled):
        if not attack.active(round):
            return None
        attack = attack.attack
    return attack if round >= attack.start_round else None
