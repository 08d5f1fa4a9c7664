"""Model extraction by a client of SplitFed (Li et al. 2023, arXiv 2303.08581), small: MNIST over ten clients, the
network of UnSplit cut behind its first pooling, so that the server has two thirds of the layers, or behind the second,
so that it has the dense ones only::

    raysplit run scenarios/li2023/extraction.py --engine local
    raysplit infer runs/cut2-HASH --samples 50 --queries 1000 --attack "ModelExtraction()"
    raysplit infer runs/cut2-HASH --samples 50 --attack "ModelExtraction(labels='sent')"
    raysplit infer runs/cut2-HASH --samples 500 --queries 5000 --attack "ModelExtraction(surrogate='perceptron')"

The table has the surrogate beside one that the same client trains on the same samples without any answer. The paper
attacks VGG11 on CIFAR-10. What was measured: docs/how-to/inference.md.
"""

from raysplit import (
    Adam,
    Cohort,
    Evaluation,
    Iid,
    Scenario,
    SplitFedV2,
    Training,
    mnist,
    partitioned,
    subset,
    unsplit_mnist,
)

CLIENTS = 10

scenarios = [
    Scenario(
        name=f"cut{cut}",
        population=partitioned(subset(mnist(), train=20_000, test=2000), Iid(), clients=CLIENTS),
        model=unsplit_mnist(cut=cut),
        protocol=SplitFedV2(),
        cohort=Cohort(size=CLIENTS),
        training=Training(rounds=6, lr=1e-3, batch_size=64, optimizer=Adam()),
        evaluation=Evaluation(every=6, clients=None),
        checkpoint_every=6,
    )
    for cut in ("2", "5")
]
