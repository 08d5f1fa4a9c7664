"""MNIST dealt to twenty clients, a small network, and runs of it in a second or two: real data for what detection must
show."""

from __future__ import annotations

from typing import Any

from torch import nn

from raysplit.defenses.detection.detection import Detection
from raysplit.models.sequential import sequential
from raysplit.population.arrow import ArrowFile
from raysplit.population.partition.iid import Iid
from raysplit.population.partition.partitioned import partitioned
from raysplit.population.partition.partitioner import Partitioner
from raysplit.population.partition.subset import subset
from raysplit.population.population import PopulationSpec
from raysplit.population.selection.cohort import Cohort
from raysplit.protocols.protocol import TrainingProtocol
from raysplit.scenario.scenario import Evaluation, Scenario
from raysplit.training.optimizers import Sgd
from raysplit.training.settings import Training
from tests.toys import Played

CLIENTS = 20
LIARS = 0.3


def dealt(mnist: ArrowFile, how: Partitioner | None = None, clients: int = CLIENTS) -> PopulationSpec:
    """3,000 images, 150 a client where they are dealt evenly."""
    return partitioned(subset(mnist, 3000, 1000), how or Iid(), clients=clients)


def stages() -> list[tuple[str, nn.Module]]:
    return [
        ("first", nn.Sequential(nn.Flatten(), nn.Linear(784, 48), nn.ReLU())),
        ("second", nn.Sequential(nn.Linear(48, 32), nn.ReLU())),
        ("third", nn.Linear(32, 10)),
    ]


def written(
    population: PopulationSpec,
    protocol: TrainingProtocol,
    detection: Detection | None = None,
    rounds: int = 5,
    lr: float = 0.1,
    malicious: float = LIARS,
    **changes: Any,
) -> Scenario:
    scenario = Scenario(
        name="written",
        population=population,
        model=sequential(stages, (1, 28, 28), 10, cut="first", tail="second" if protocol.u_shaped else None),
        protocol=protocol,
        cohort=Cohort(CLIENTS, malicious),
        training=Training(rounds=rounds, lr=lr, batch_size=25, optimizer=Sgd()),
        evaluation=Evaluation(every=rounds, clients=None),
        detection=detection,
    )
    return scenario.replace(**{path.replace("__", "."): value for path, value in changes.items()})


def accuracy(played: Played) -> float:
    """On the test images, after the last round."""
    return float(played.tables["evaluations"].to_pylist()[-1]["accuracy"])


def found(played: Played) -> dict[str, int]:
    """The detection table summed over the rounds."""
    rows = played.tables["detection"].to_pylist()
    return {name: sum(row[name] for row in rows) for name in rows[0] if name != "round"} if rows else {}
