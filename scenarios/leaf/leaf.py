"""LEAF's text sets at LEAF's sizes (Caldas et al. 2018): Shakespeare and Sent140, federated, split and both.

They need ``raysplit data prepare shakespeare --from FOLDER`` and ``raysplit data prepare sent140``. Networks, windows and
clients a round are those of LEAF's code; its learning rate of 0.0003 needs many more rounds than these, so the rates here
are McMahan et al.'s for Shakespeare's LSTM, and a guess for tweets. LEAF never splits a network: the cuts, after the
first LSTM, are ours.
"""

from raysplit import (
    Cohort,
    Evaluation,
    FedAvg,
    Scenario,
    SplitFedV1,
    SplitFedV2,
    SplitLearning,
    Training,
    grid,
    sent140,
    sent140_lstm,
    shakespeare,
    shakespeare_lstm,
)

PROTOCOLS = {"fl": FedAvg(), "sl": SplitLearning(), "sflv1": SplitFedV1(), "sflv2": SplitFedV2()}

scenarios = [
    *grid(
        Scenario(
            name="leaf-shakespeare",
            population=shakespeare(),
            model=shakespeare_lstm(cut="layer2"),
            protocol=FedAvg(),
            cohort=Cohort(size=10),
            training=Training(rounds=100, lr=1.47, batch_size=10),
            evaluation=Evaluation(every=10, clients=100),
            pixels="bytes",
        ),
        protocol=PROTOCOLS,
    ),
    *grid(
        Scenario(
            name="leaf-sent140",
            population=sent140(),
            model=sent140_lstm(tokens=10_001, cut="layer2"),
            protocol=FedAvg(),
            cohort=Cohort(size=100),
            training=Training(rounds=100, lr=0.1, batch_size=10),
            evaluation=Evaluation(every=10, clients=2000),
            pixels="bytes",
        ),
        protocol=PROTOCOLS,
    ),
]
