"""What components require is checked when a scenario is built, whoever they are and wherever they stand."""

from dataclasses import dataclass
from typing import ClassVar

import pytest

from raysplit.aggregation.rules.bucketing import Bucketing
from raysplit.aggregation.rules.composed import Composed
from raysplit.aggregation.rules.krum import Krum
from raysplit.aggregation.rules.start_at_round import StartAtRound
from raysplit.errors import ScenarioError
from raysplit.population.selection.cohort import Cohort
from raysplit.protocols.buffered import BufferedSplitFed
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.protocol import TrainingProtocol
from raysplit.protocols.requirements import Requirement, batch_of, no_batch_norm
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from tests.toys import ToyCnn, toy


@pytest.mark.parametrize(
    ("protocol", "changes", "group"),
    [
        (FedAvg(), {"defense": Krum(f=2)}, "cohort of 6"),
        (FedAvg(), {"defense": StartAtRound(Krum(f=2), 2)}, "cohort of 6"),
        (FedAvg(), {"defense": Composed((Bucketing(2),), Krum(f=1))}, "cohort of 6"),
        (FedAvg(), {"defense": StartAtRound(Composed((Bucketing(2),), Krum(f=1)), 2)}, "cohort of 6"),
        (SplitFedV1(), {"server_defense": StartAtRound(Krum(f=2), 2)}, "cohort of 6"),
        (BufferedSplitFed(4), {"defense": StartAtRound(Krum(f=1), 2)}, "buffer of 4"),
    ],
)
def test_a_rule_that_needs_more_clients_than_a_round_brings_is_refused_before_it_starts(protocol, changes, group):
    with pytest.raises(ScenarioError, match=f"needs at least .* updates against .* but a {group} brings only"):
        toy(protocol, cohort=Cohort(6), training__rounds=3, **changes)


@dataclass(frozen=True)
class Plain(SplitFedV2):
    """Made without ``@part``, so its names are looked at when a scenario is built."""

    server_sync: ClassVar[str] = "shared"
    synchrny: ClassVar[str] = "synchronous"


def test_a_plain_dataclass_is_looked_at_when_its_scenario_is_built():
    with pytest.raises(
        ScenarioError, match=r"^Plain declares 'synchrny', which is no answer of a protocol; did you mean "
    ):
        toy(Plain())


@dataclass(frozen=True)
class Strange(TrainingProtocol):
    client_sync: ClassVar[str] = "sometimes"
    server: ClassVar[str] = "shared"
    order: ClassVar[str] = "interleaved"
    client_state: ClassVar[str] = "fresh"
    server_state: ClassVar[str] = "persistent"


def test_an_answer_that_there_is_not_is_refused():
    with pytest.raises(ScenarioError, match=r"^Strange.client_sync must be 'one_party' or .*, but it is 'sometimes'$"):
        toy(Strange())


@dataclass(frozen=True)
class Picky(SplitFedV2):
    @property
    def requires(self) -> tuple[Requirement, ...]:
        return (
            batch_of(4, "{component} needs batches of 4, but batch_size is {setting.batch_size}"),
            no_batch_norm("{component} needs a model without BatchNorm, but {model} has some"),
        )


def test_a_component_of_ones_own_says_what_it_requires():
    assert toy(Picky(), training__batch_size=4)
    with pytest.raises(ScenarioError, match=r"^Picky needs batches of 4, but batch_size is 3$"):
        toy(Picky(), training__batch_size=3)
    with pytest.raises(ScenarioError, match=r"^Picky needs a model without BatchNorm, but ToyCnn has some$"):
        toy(Picky(), training__batch_size=4).replace(model=ToyCnn("V1", batch_norm=True))
