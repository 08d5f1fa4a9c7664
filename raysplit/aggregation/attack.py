"""What every attack answers, whatever it poisons: when it acts, what the adversary sees and changes, and the attacks
that it is made of."""

from __future__ import annotations

from abc import ABC, abstractmethod

from raysplit.channels.channel import ThreatModel
from raysplit.models.network import ModelSpec
from raysplit.parts.contract import answer, contract
from raysplit.protocols.requirements import Requirement


@contract("an attack")
class Attack(ABC):
    """The contract of attacks: a frozen dataclass (``part``) that keeps nothing from call to call derives from one of
    its kinds, ``UpdateAttack``, ``DataAttack`` or ``MessageAttack``, and answers what is not as the defaults say."""

    @answer
    @abstractmethod
    def threat_model(self) -> ThreatModel:
        """What the adversary sees, changes and knows."""

    @answer
    def start_round(self) -> int:
        """The first round, from 1, in which the adversary acts maliciously."""
        return 1

    @answer
    def requires(self) -> tuple[Requirement, ...]:
        """What must hold of a scenario for it to be carried out; its threat model's channels and ``fits`` besides."""
        return ()

    @answer
    def asks_last_move(self) -> bool:
        """Whether it asks for the last global move (``RoundContext.last_move``)."""
        return any(part.asks_last_move for part in self.parts())

    def parts(self) -> tuple[Attack, ...]:
        """The attacks that it is made of."""
        return ()

    def acts_in(self, round: int) -> bool:
        """Whether it is carried out in a round, counted from 1."""
        return round >= self.start_round

    def joined(self) -> tuple[Attack, ...]:
        """The attacks that it joins side by side, each with its schedule; itself where it joins none."""
        return (self,)

    def singles(self) -> tuple[Attack, ...]:
        """The single attacks that it carries out, in whatever rounds."""
        return (self,)

    def in_force(self, round: int) -> tuple[Attack, ...]:
        """The single attacks that it carries out in a round, counted from 1."""
        return (self,) if self.acts_in(round) else ()

    def fits(self, model: ModelSpec) -> None:  # noqa: B027 - most attacks fit every model
        """Raise ScenarioError where it cannot be carried out on ``model``."""
