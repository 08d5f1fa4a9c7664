"""Membership at size: models that have learned their 2,500 training samples by heart, of which 2,000 are asked about
beside 2,000 test samples, so that a false-positive rate of 0.1 % is two of them::

    raysplit run scenarios/membership/overfitted.py --only mnist --engine local
    raysplit infer runs/mnist-HASH --samples 4000 --auxiliary 2500 \
        --attack "LossMembership(), CutGradientMembership(), CalibratedMembership(models=4)"

``mnist-short`` stops after a tenth of the rounds, before it has learned them. Five clients of SplitFed, the network of
UnSplit; the test set is larger than the training set, so that calibration has as many samples as the victim had.
"""

from raysplit import (
    Adam,
    Cohort,
    Evaluation,
    Iid,
    Scenario,
    SplitFedV2,
    Training,
    fashion_mnist,
    mnist,
    partitioned,
    subset,
    unsplit_mnist,
)
from raysplit.contracts import PopulationSpec

CLIENTS = 5

SETS: dict[str, tuple[PopulationSpec, int]] = {
    "mnist": (mnist(), 60),
    "fashion": (fashion_mnist(), 60),
    "mnist-short": (mnist(), 6),
}

scenarios = [
    Scenario(
        name=name,
        population=partitioned(subset(pool, train=2500, test=5000), Iid(), clients=CLIENTS),
        model=unsplit_mnist(cut="2"),
        protocol=SplitFedV2(),
        cohort=Cohort(size=CLIENTS),
        training=Training(rounds=rounds, lr=2e-3, batch_size=32, optimizer=Adam()),
        evaluation=Evaluation(every=rounds, clients=None),
        checkpoint_every=rounds,
    )
    for name, (pool, rounds) in SETS.items()
]
