"""SLPerf, graphs: vanilla split learning, its U-shape and SplitFed on a TUDataset with a GIN; IID and Dirichlet(0.5).

The post does not say which TUDataset, how many clients, nor where the network is cut: PROTEINS, five clients and the second layer are guesses.
The network and its optimiser are those of Xu et al. 2019: five layers of 64, sums, Adam 0.01, halved every 50 rounds, batches of 32.
"""

from raysplit import (
    Adam,
    Cohort,
    Dirichlet,
    Evaluation,
    Iid,
    Scenario,
    SplitFedV2,
    SplitLearning,
    StepDecay,
    Training,
    gin,
    grid,
    partitioned,
    tudataset,
)

CLIENTS = 5
PROTEINS = tudataset("PROTEINS")

base = Scenario(
    name="slperf-proteins",
    population=partitioned(PROTEINS, Iid(), clients=CLIENTS),
    model=gin(nodes=620, labels=3, classes=2, cut="layer2", tail="gin3"),
    protocol=SplitFedV2(),
    cohort=Cohort(size=CLIENTS),
    training=Training(
        rounds=120, lr=0.01, batch_size=32, optimizer=Adam(), schedule=StepDecay(every=50, factor_each=0.5)
    ),
    evaluation=Evaluation(clients=None),
    pixels="bytes",
)

scenarios = grid(
    base,
    population={
        "iid": partitioned(PROTEINS, Iid(), clients=CLIENTS),
        "dirichlet": partitioned(PROTEINS, Dirichlet(0.5), clients=CLIENTS),
    },
    protocol={
        "vanilla": SplitLearning(),
        "u_shaped": SplitLearning(u_shaped=True),
        "splitfed": SplitFedV2(),
    },
)
