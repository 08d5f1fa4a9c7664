"""Figures 3 and 4 at a size that two cores finish: 5 to 100 clients share 6,000 Fashion-MNIST images, LeNet, 30 rounds.

The network, cut and learning rate are those of Table 5's FMNIST row. Batches are 64 instead of 1024, which all of a
client's images would fit into from 6 clients on. Devices are alike for all clients (imagined figures), so that virtual
time shows what the number of clients costs each protocol. Figures: docs/papers/thapa2022.md.
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
    fashion_mnist,
    lenet,
    partitioned,
    subset,
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
        name=f"small-clients{clients:03d}-{name}",
        population=partitioned(subset(fashion_mnist(), 6000, 3000), Iid(), clients=clients),
        model=lenet((1, 28, 28), cut="layer2"),
        protocol=protocol,
        cohort=Cohort(size=clients),
        training=Training(rounds=30, lr=0.004, batch_size=64, optimizer=Adam()),
        evaluation=Evaluation(every=3, clients=None),
        pixels="centred",
        devices=Devices(),
    )
    for clients in (5, 10, 20, 50, 100)
    for name, protocol in protocols.items()
]
