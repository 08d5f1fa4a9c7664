"""SLPerf, vision: vanilla split learning, its U-shape and SplitFed on CIFAR-10 with a ResNet; IID and Dirichlet(0.5).

The post gives no number of clients, cut, optimiser or batch size: all of those here are guesses, and its accuracies are
a claim that its public logs do not carry. Its SplitFed has one server portion that all clients share, which is
SplitFedV2.
"""

from raysplit import (
    Cohort,
    CosineDecay,
    Dirichlet,
    Evaluation,
    Iid,
    Scenario,
    Sgd,
    SplitFedV2,
    SplitLearning,
    Training,
    cifar10,
    grid,
    partitioned,
    resnet18,
)

CLIENTS = 10

base = Scenario(
    name="slperf-cifar10",
    population=partitioned(cifar10(), Iid(), clients=CLIENTS),
    model=resnet18((3, 32, 32), classes=10, cut="layer3", tail="block8"),
    protocol=SplitFedV2(),
    cohort=Cohort(size=CLIENTS),
    training=Training(
        rounds=120, lr=0.05, batch_size=64, optimizer=Sgd(momentum=0.9, weight_decay=5e-4), schedule=CosineDecay()
    ),
    evaluation=Evaluation(clients=None),
    pixels="centred",
)

scenarios = grid(
    base,
    population={
        "iid": partitioned(cifar10(), Iid(), clients=CLIENTS),
        "dirichlet": partitioned(cifar10(), Dirichlet(0.5), clients=CLIENTS),
    },
    protocol={
        "vanilla": SplitLearning(),
        "u_shaped": SplitLearning(u_shaped=True),
        "splitfed": SplitFedV2(),
    },
)
