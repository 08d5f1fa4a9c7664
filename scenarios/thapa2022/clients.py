"""Thapa et al. 2022, Figure 3: 5 to 100 clients, ResNet18 on HAM10000, 100 rounds; the spread over clients (Figure 4)
is in every run.

Devices are imagined ones, alike for all clients, so that the virtual seconds of the runs can be set beside the paper's
Table 2. Guesses as in table5.py.
"""

from raysplit import (
    Adam,
    Cohort,
    Devices,
    Evaluation,
    FedAvg,
    Iid,
    Scenario,
    SplitFedV1,
    SplitFedV2,
    SplitLearning,
    Training,
    ham10000,
    partitioned,
    resnet18,
)
from raysplit.contracts import TrainingProtocol

protocols: dict[str, TrainingProtocol] = {
    "fl": FedAvg(),
    "sl": SplitLearning(),
    "sflv1": SplitFedV1(),
    "sflv2": SplitFedV2(),
}

scenarios = [
    Scenario(
        name=f"clients{clients:03d}-{name}",
        population=partitioned(ham10000(size=64), Iid(), clients=clients),
        model=resnet18((3, 64, 64), classes=7, cut="layer3"),
        protocol=protocol,
        cohort=Cohort(size=clients),
        training=Training(rounds=100, lr=1e-4, batch_size=1024, optimizer=Adam()),
        evaluation=Evaluation(clients=None),
        pixels="centred",
        devices=Devices(),
    )
    for clients in (5, 10, 20, 50, 100)
    for name, protocol in protocols.items()
]
