"""What all attacks share, whatever they poison: when they start, what they see and change. And several attacks as one.

There are three kinds, told apart by what they can do: attacks on updates (``poisoning/``, they have ``poison``), on
training data (``data/``, ``poison_samples``) and on messages between clients and the main server (``smashed/``,
``alter``).
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from raysplit.channels.channel import ThreatModel
from raysplit.errors import ScenarioError
from raysplit.parts.part import part


@runtime_checkable
class Attack(Protocol):
    """A frozen dataclass that keeps nothing from call to call."""

    @property
    def threat_model(self) -> ThreatModel: ...

    @property
    def start_round(self) -> int:
        """First round (1-based) in which the adversary lies."""
        ...


@part
class CompositeAttack:
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


def parts_of(attack: Attack | None) -> tuple[Attack, ...]:
    """The attacks that an attack joins, schedules and all; itself where it joins none."""
    if attack is None:
        return ()
    if isinstance(attack, CompositeAttack):
        return tuple(single for joined in attack.attacks for single in parts_of(joined))
    return (attack,)
