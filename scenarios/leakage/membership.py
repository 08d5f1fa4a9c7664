"""Membership at size: models that have learned their 2,500 training samples by heart, of which 2,000 are asked about
beside 2,000 test samples, so that a false-positive rate of 0.1 % is two of them::

    raysplit run scenarios/leakage/membership.py --only mnist --engine local
    raysplit infer runs/mnist-HASH --samples 4000 --auxiliary 2500 \
        --attack "LossMembership(), CutGradientMembership(), CalibratedMembership(models=4)"

``mnist-short`` stops after a tenth of the rounds, before it has learned them. Five clients of SplitFed, the network of
UnSplit, on CIFAR-10 LeNet: digits are nearly alike for members and others, its pictures are not. The test set is larger
than the training set, so that calibration has as many samples as the victim had. What was measured:
docs/how-to/inference.md.
"""

from raysplit import (
    Adam,
    Cohort,
    Evaluation,
    Iid,
    Scenario,
    SplitFedV2,
    Training,
    cifar10,
    fashion_mnist,
    lenet,
    mnist,
    partitioned,
    subset,
    unsplit_mnist,
)
from raysplit.contracts import ModelSpec, PopulationSpec

CLIENTS = 5

SETS: dict[str, tuple[PopulationSpec, ModelSpec, int]] = {
    "mnist": (mnist(), unsplit_mnist(cut="2"), 60),
    "fashion": (fashion_mnist(), unsplit_mnist(cut="2"), 60),
    "cifar10": (cifar10(), lenet((3, 32, 32), cut="layer2"), 40),
    "mnist-short": (mnist(), unsplit_mnist(cut="2"), 6),
}

scenarios = [
    Scenario(
        name=name,
        population=partitioned(subset(pool, train=2500, test=5000), Iid(), clients=CLIENTS),
        model=model,
        protocol=SplitFedV2(),
        cohort=Cohort(size=CLIENTS),
        training=Training(rounds=rounds, lr=2e-3, batch_size=32, optimizer=Adam()),
        evaluation=Evaluation(every=rounds, clients=None),
        checkpoint_every=rounds,
    )
    for name, (pool, model, rounds) in SETS.items()
]
