"""SLPerf, graphs: vanilla split learning, its U-shape and SplitFed on a TUDataset with a GIN; IID and Dirichlet(0.5).

The post does not say which TUDataset, how many clients, nor where the network is cut: MUTAG, IMDB-BINARY and
PROTEINS_full, five clients and the second layer are guesses. The network and its optimiser are those of Xu et al. 2019:
five layers of 64, sums, Adam 0.01, halved every 50 rounds, batches of 32.
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
DATA = {
    "mutag": (tudataset("MUTAG"), gin(nodes=28, labels=7, classes=2, cut="layer2", tail="gin3")),
    "imdb": (tudataset("IMDB-BINARY"), gin(nodes=136, labels=0, classes=2, cut="layer2", tail="gin3")),
    "proteins": (tudataset("PROTEINS_full"), gin(nodes=620, labels=3, classes=2, cut="layer2", tail="gin3")),
}

scenarios = [
    scenario
    for name, (graphs, model) in DATA.items()
    for scenario in grid(
        Scenario(
            name=f"slperf-{name}",
            population=partitioned(graphs, Iid(), clients=CLIENTS),
            model=model,
            protocol=SplitFedV2(),
            cohort=Cohort(size=CLIENTS),
            training=Training(
                rounds=120, lr=0.01, batch_size=32, optimizer=Adam(), schedule=StepDecay(every=50, factor_each=0.5)
            ),
            evaluation=Evaluation(clients=None),
            pixels="bytes",
        ),
        population={
            "iid": partitioned(graphs, Iid(), clients=CLIENTS),
            "dirichlet": partitioned(graphs, Dirichlet(0.5), clients=CLIENTS),
        },
        protocol={
            "vanilla": SplitLearning(),
            "u_shaped": SplitLearning(u_shaped=True),
            "splitfed": SplitFedV2(),
        },
    )
]
