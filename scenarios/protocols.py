"""Every protocol on the same 60 synthetic writers: `raysplit run scenarios/protocols.py` shows them side by side in a minute or two.

Not a comparison of what they can reach: a few rounds of a small cohort, one rate for all.
"""

from raysplit import (
    Centralized,
    Cohort,
    CyclePsl,
    CycleSfl,
    Evaluation,
    FedAvg,
    MiniBatchSfl,
    ParallelSl,
    Scenario,
    Sgd,
    Sglr,
    SplitFedV1,
    SplitFedV2,
    SplitFedV3,
    SplitLearning,
    Training,
    femnist_cnn,
    grid,
    synthetic_writers,
)

base = Scenario(
    name="protocols",
    population=synthetic_writers(writers=60, mean_samples=20, sd_samples=6),
    model=femnist_cnn(cut="V1"),
    protocol=Centralized(),
    cohort=Cohort(size=6),
    training=Training(rounds=3, lr=0.02, batch_size=8, optimizer=Sgd(momentum=0.9)),
    evaluation=Evaluation(every=3, clients=20),
    pixels="inverted",
)

scenarios = grid(
    base,
    protocol={
        "centralized": Centralized(),
        "fedavg": FedAvg(),
        "sl": SplitLearning(),
        "sl-minibatch": SplitLearning(schedule="minibatch"),
        "sflv1": SplitFedV1(),
        "sflv1-gradients": SplitFedV1(reading="gradients"),
        "sflv1-accumulated": SplitFedV1(reading="accumulated"),
        "sflv2": SplitFedV2(),
        "sflv3": SplitFedV3(),
        "psl": ParallelSl(),
        "minibatch-sfl": MiniBatchSfl(),
        "sglr": Sglr(),
        "cycle-sfl": CycleSfl(server_epochs=2, server_batch=16),
        "cycle-psl": CyclePsl(server_epochs=2, server_batch=16),
    },
)
