"""What holds an attack to its contract: it sees views of the round's matrix, and may change nothing in them."""

from typing import ClassVar

import pytest

from raysplit.aggregation.update_attack import Poison, UpdateAttack, UpdateView, updates_threat
from raysplit.channels.channel import ThreatModel
from raysplit.errors import ScenarioError
from raysplit.parts.part import part
from raysplit.population.selection.cohort import Cohort
from raysplit.protocols.fedavg import FedAvg
from tests.toys import play, toy


@part
class Scribbler(UpdateAttack):
    """Writes into what it sees: the benign rows, or its own."""

    benign: bool = True

    start_round: ClassVar[int] = 1
    threat_model: ClassVar[ThreatModel] = updates_threat("full")

    def poison(self, view: UpdateView) -> Poison:
        (view.benign if self.benign else view.own).mul_(-1)
        return Poison(view.own)


@pytest.mark.parametrize("benign", [True, False])
def test_an_attack_that_writes_into_what_it_sees_is_refused(benign):
    with pytest.raises(ScenarioError, match=r"Scribbler\.poison\(\) changed the updates that it was shown"):
        play(toy(FedAvg(), cohort=Cohort(4, 0.5, "cohort"), attack=Scribbler(benign)))
