"""Three more rows of Table 5 at a size that two cores finish: parts of the sets, ten rounds, smaller batches. Figures:
docs/papers/thapa2022.md.

Five clients, the rows' networks and cuts as in table5.py. Batches are 64 instead of 1024 and ResNet18 learns at 0.001
instead of 0.0001, so that ten rounds hold enough steps to tell the methods apart; HAM10000 has 32×32 pixels.
"""

from raysplit import (
    Adam,
    Centralized,
    Cohort,
    Evaluation,
    FedAvg,
    Iid,
    Scenario,
    SplitFedV1,
    SplitFedV2,
    SplitLearning,
    Training,
    cifar10,
    grid,
    ham10000,
    lenet,
    mnist,
    partitioned,
    resnet18,
    subset,
)
from raysplit.contracts import ModelSpec, PopulationSpec

CLIENTS = 5
GREY, COLOUR = (1, 28, 28), (3, 32, 32)

rows: dict[str, tuple[PopulationSpec, ModelSpec, float]] = {
    "small-ham-resnet18": (subset(ham10000(size=32), 3000, 968), resnet18(COLOUR, classes=7, cut="layer3"), 0.001),
    "small-cifar-lenet": (subset(cifar10(), 20_000, 5000), lenet(COLOUR, cut="layer2"), 0.004),
    "small-mnist-resnet18": (subset(mnist(), 3000, 2000), resnet18(GREY, classes=10, cut="layer3"), 0.001),
}

scenarios = [
    scenario
    for name, (pool, model, lr) in rows.items()
    for scenario in grid(
        Scenario(
            name=name,
            population=partitioned(pool, Iid(), clients=CLIENTS),
            model=model,
            protocol=FedAvg(),
            cohort=Cohort(size=CLIENTS),
            training=Training(rounds=10, lr=lr, batch_size=64, optimizer=Adam()),
            evaluation=Evaluation(clients=None),
            pixels="centred",
        ),
        protocol={
            "normal": Centralized(),
            "fl": FedAvg(),
            "sl": SplitLearning(),
            "sflv1": SplitFedV1(),
            "sflv2": SplitFedV2(),
        },
    )
]
