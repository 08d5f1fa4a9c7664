"""LEAF's Shakespeare in small, without data: the next character of invented roles' speeches, under six protocols.

An LSTM of 64 instead of 256, 40 roles, and a split by user beside LEAF's usual one: then the model is tested on roles
that never trained. ``scenarios/leaf/leaf.py`` has LEAF's own sizes on LEAF's data.
"""

from raysplit import (
    Adam,
    Cohort,
    Evaluation,
    FedAvg,
    Scenario,
    SplitFedV1,
    SplitFedV2,
    SplitFedV3,
    SplitLearning,
    Training,
    by_user,
    grid,
    shakespeare_lstm,
    synthetic_roles,
)

ROLES = synthetic_roles(roles=40, mean_samples=120)

base = Scenario(
    name="shakespeare",
    population=ROLES,
    model=shakespeare_lstm(cut="layer2", tail="lstm2", hidden=64),
    protocol=SplitFedV2(),
    cohort=Cohort(size=8),
    training=Training(rounds=10, lr=0.01, batch_size=16, optimizer=Adam()),
    evaluation=Evaluation(every=5, clients=None),
    pixels="bytes",
)

scenarios = [
    *grid(
        base,
        protocol={
            "fl": FedAvg(),
            "sl": SplitLearning(),
            "sflv1": SplitFedV1(),
            "sflv2": SplitFedV2(),
            "sflv3": SplitFedV3(),
            "u_shaped": SplitFedV2(u_shaped=True),
        },
    ),
    *grid(base, population={"by_user": by_user(ROLES, test_share=0.2)}),
]
