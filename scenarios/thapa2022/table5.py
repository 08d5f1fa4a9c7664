"""Thapa et al. 2022, Table 5: centralised, FL, SL, SplitFed V1 and V2 on four data sets and three networks, five
clients, IID.

From the paper: five clients who all take part, batches of 1024, one local epoch, 200 rounds, learning rate 0.004 for
LeNet and 0.0001 for the others, cuts after the second layer (LeNet, AlexNet) and the third (ResNet18), the best test
accuracy of the rounds. Guesses, because the paper does not say: Adam (as in the authors' code), pixels scaled to −1…1,
HAM10000 in 64×64 pixels.
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
    alexnet_imagenet,
    cifar10,
    fashion_mnist,
    grid,
    ham10000,
    lenet,
    mnist,
    partitioned,
    resnet18,
)
from raysplit.contracts import ModelSpec, PopulationSpec

CLIENTS = 5
GREY, COLOUR, LESION = (1, 28, 28), (3, 32, 32), (3, 64, 64)

rows: dict[str, tuple[PopulationSpec, ModelSpec, float]] = {
    "ham-resnet18": (ham10000(size=64), resnet18(LESION, classes=7, cut="layer3"), 1e-4),
    "ham-alexnet": (ham10000(size=64), alexnet_imagenet(LESION, classes=7, cut="layer2"), 1e-4),
    "fmnist-lenet": (fashion_mnist(), lenet(GREY, cut="layer2"), 0.004),
    "fmnist-alexnet": (fashion_mnist(), alexnet_imagenet(GREY, cut="layer2"), 1e-4),
    "cifar-lenet": (cifar10(), lenet(COLOUR, cut="layer2"), 0.004),
    "mnist-alexnet": (mnist(), alexnet_imagenet(GREY, cut="layer2"), 1e-4),
    "mnist-resnet18": (mnist(), resnet18(GREY, classes=10, cut="layer3"), 1e-4),
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
            training=Training(rounds=200, lr=lr, batch_size=1024, optimizer=Adam()),
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
