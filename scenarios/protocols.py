"""Every protocol on the same 60 synthetic writers: `raysplit run scenarios/protocols.py` shows them side by side in a
minute or two.

Not a comparison of what they can reach: a few rounds of a small cohort, one rate for all. The last ones do as published
code does (docs/as-published.md).
"""

from raysplit import (
    Adam,
    AsyncSplitFed,
    AsyncSplitLearning,
    BufferedSplitFed,
    Centralized,
    Cohort,
    CyclePsl,
    CycleSfl,
    Evaluation,
    ExtendedSplit,
    FedAvg,
    MiniBatchSfl,
    MultiTaskSplit,
    ParallelSl,
    Scenario,
    Sgd,
    Sglr,
    SplitFedV1,
    SplitFedV2,
    SplitFedV3,
    SplitLearning,
    Task,
    Training,
    VerticalSplit,
    femnist_cnn,
    grid,
    synthetic_writers,
)

base = Scenario(
    name="protocols",
    population=synthetic_writers(writers=60, mean_samples=20, sd_samples=6),
    model=femnist_cnn(cut="V1", tail="fc1"),
    protocol=Centralized(),
    cohort=Cohort(size=6),
    training=Training(rounds=3, lr=0.02, batch_size=8, optimizer=Sgd(momentum=0.9)),
    evaluation=Evaluation(every=3, clients=20),
    pixels="inverted",
)

kind_of_character = Task("kind", labels=(0,) * 10 + (1,) * 26 + (2,) * 26, weight=0.5)
adam = base.replace(training=Training(rounds=3, lr=1e-3, batch_size=8, optimizer=Adam()))

scenarios = [
    *grid(
        base,
        protocol={
            "centralized": Centralized(),
            "fedavg": FedAvg(),
            "sl": SplitLearning(),
            "sl-minibatch": SplitLearning(schedule="minibatch"),
            "sl-async": AsyncSplitLearning(threshold=0.05),
            "sflv1": SplitFedV1(),
            "sflv1-gradients": SplitFedV1(reading="gradients"),
            "sflv1-accumulated": SplitFedV1(reading="accumulated"),
            "sflv2": SplitFedV2(),
            "sfl-async": AsyncSplitFed(threshold=0.05),
            "sfl-buffered": BufferedSplitFed(buffer=3),
            "sflv3": SplitFedV3(),
            "psl": ParallelSl(),
            "minibatch-sfl": MiniBatchSfl(),
            "sglr": Sglr(),
            "cycle-sfl": CycleSfl(server_epochs=2, server_batch=16),
            "cycle-psl": CyclePsl(server_epochs=2, server_batch=16),
            "vertical": VerticalSplit(parties=2, along="width"),
            "extended-vanilla": ExtendedSplit(),
            "multi-task": MultiTaskSplit((Task("character"), kind_of_character)),
            "slperf-sl": SplitLearning(as_published="slperf", ring="fixed"),
            "slperf-sflv2": SplitFedV2(order="client_major", as_published="slperf"),
        },
    ),
    *grid(
        adam,
        protocol={
            "thapa2022-fl": FedAvg(as_published="thapa2022"),
            "thapa2022-sl": SplitLearning(as_published="thapa2022"),
            "thapa2022-sflv1": SplitFedV1(as_published="thapa2022"),
            "thapa2022-sflv2": SplitFedV2(order="client_major", as_published="thapa2022"),
        },
    ),
]
