"""cifar10.py at a size that two cores finish: 4,000 + 1,000 images, 20 rounds instead of 120. Figures:
docs/papers/slperf.md."""

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
    subset,
)

CLIENTS = 10
POOL = subset(cifar10(), 4000, 1000)

base = Scenario(
    name="small-slperf-cifar10",
    population=partitioned(POOL, Iid(), clients=CLIENTS),
    model=resnet18((3, 32, 32), classes=10, cut="layer3", tail="block8"),
    protocol=SplitFedV2(),
    cohort=Cohort(size=CLIENTS),
    training=Training(
        rounds=20, lr=0.05, batch_size=64, optimizer=Sgd(momentum=0.9, weight_decay=5e-4), schedule=CosineDecay()
    ),
    evaluation=Evaluation(clients=None),
    pixels="centred",
)

scenarios = grid(
    base,
    population={
        "iid": partitioned(POOL, Iid(), clients=CLIENTS),
        "dirichlet": partitioned(POOL, Dirichlet(0.5), clients=CLIENTS),
    },
    protocol={
        "vanilla": SplitLearning(),
        "u_shaped": SplitLearning(u_shaped=True),
        "splitfed": SplitFedV2(),
    },
)
