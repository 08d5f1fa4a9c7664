"""Several attacks as one, and questions about an attack that may be None."""

from __future__ import annotations

from raysplit.aggregation.attack import Attack as Attack
from raysplit.channels.channel import ThreatModel
from raysplit.errors import ScenarioError
from raysplit.parts.part import part


@part
class CompositeAttack(Attack):
    """Several attacks by the same adversary, such as a backdoor in the data and model replacement of the updates that
    it leads to.

    Data are poisoned first, messages on their way, updates last. Raises ScenarioError where there are fewer than two.
    """

    attacks: tuple[Attack, ...]

    def __post_init__(self) -> None:
        if len(self.attacks) < 2:
            raise ScenarioError(
                f"CompositeAttack.attacks joins two attacks or more, but there are {len(self.attacks)}; name the one "
                "attack itself"
            )

    @property
    def start_round(self) -> int:
        return min(attack.start_round for attack in self.attacks)

    @property
    def threat_model(self) -> ThreatModel:
        """All that any of them needs; partial knowledge only where all make do with it."""
        models = [attack.threat_model for attack in self.attacks]
        return ThreatModel(
            frozenset().union(*(model.sees for model in models)),
            frozenset().union(*(model.changes for model in models)),
            "full" if any(model.knowledge == "full" for model in models) else "partial",
            any(model.own_data for model in models),
            "clients" if all(model.party == "clients" for model in models) else "main_server",
        )

    def parts(self) -> tuple[Attack, ...]:
        return self.attacks

    def joined(self) -> tuple[Attack, ...]:
        return tuple(single for attack in self.attacks for single in attack.joined())

    def singles(self) -> tuple[Attack, ...]:
        return tuple(single for attack in self.attacks for single in attack.singles())

    def in_force(self, round: int) -> tuple[Attack, ...]:
        return tuple(single for attack in self.attacks for single in attack.in_force(round))


def parts_of(attack: Attack | None) -> tuple[Attack, ...]:
    """The attacks that an attack joins, schedules and all; itself where it joins none."""
    return () if attack is None else attack.joined()
