"""Small runs of asynchronous SplitFed, of other parties than clients and a server, and of published code. Synthetic writers; seconds each.

raysplit run scenarios/other_protocols.py [--engine local] [--only NAME]
"""

from raysplit import (
    Adam,
    AsyncSplitFed,
    AsyncSplitLearning,
    BufferedSplitFed,
    Cohort,
    ExtendedSplit,
    FedAvg,
    MultiTaskSplit,
    Scenario,
    Speeds,
    SplitFedV1,
    SplitFedV2,
    SplitLearning,
    Task,
    Training,
    VerticalSplit,
    femnist_cnn,
    synthetic_writers,
)

base = Scenario(
    name="async-splitfed",
    population=synthetic_writers(writers=30, mean_samples=20, sd_samples=5),
    model=femnist_cnn(cut="V1", tail="fc1"),
    protocol=AsyncSplitFed(threshold=0.05),
    cohort=Cohort(size=6),
    training=Training(rounds=4, lr=0.05, batch_size=8),
)
kind_of_character = Task("kind", labels=(0,) * 10 + (1,) * 26 + (2,) * 26, weight=0.5)
adam = Training(rounds=4, lr=1e-3, batch_size=8, optimizer=Adam())

scenarios = [
    base,
    base.replace(name="async-split-learning", protocol=AsyncSplitLearning(threshold=0.05)),
    base.replace(name="buffered-splitfed", protocol=BufferedSplitFed(buffer=3, staleness=0.5, speeds=Speeds(1.0))),
    base.replace(name="vertical", protocol=VerticalSplit(parties=2, along="width")),
    base.replace(name="extended-vanilla", protocol=ExtendedSplit()),
    base.replace(name="multi-task", protocol=MultiTaskSplit((Task("character"), kind_of_character))),
    base.replace(name="thapa2022-fl", protocol=FedAvg(as_published="thapa2022"), training=adam),
    base.replace(name="thapa2022-sl", protocol=SplitLearning(as_published="thapa2022"), training=adam),
    base.replace(name="thapa2022-v1", protocol=SplitFedV1(as_published="thapa2022"), training=adam),
    base.replace(
        name="thapa2022-v2", protocol=SplitFedV2(order="client_major", as_published="thapa2022"), training=adam
    ),
    base.replace(name="slperf-sl", protocol=SplitLearning(as_published="slperf", ring="fixed")),
]
