"""Erdoğan et al. 2021 (UnSplit), Table 3: the labels that a U-shaped client sends nobody, its tail one layer deep and
two. One client, one sample a step (the paper's stochastic gradient descent), Adam at 1e-3 as in the public code.

Published: 100 % at depth 1 on all three sets, 9.1, 10.2 and 8.1 % at depth 2. Then::

    raysplit infer runs/mnist-tail1-HASH --round 1 --samples 1000 --attack "GradientMatchingLabels()"
    raysplit infer runs/mnist-tail2-HASH --round 1 --samples 1000 --attack "GradientMatchingLabels(compared='fc2.weight')"

The first is what the table shows: weight gradients of the tail, which no message brings to the server; ``SignLabels()``
reads every label off them, at any depth and however trained. What a server does see is attacked by
``GradientMatchingLabels(form='protocol')``, ``ClusterLabels()``, ``ClusterLabels(known=1)`` and ``ModelCompletion()``;
with one client (``--party main_server --party client``) by ``GradientMatchingLabels(form='protocol', true_tail=True)``.
What was measured: docs/papers/erdogan2021.md.
"""

from raysplit import (
    Adam,
    Cohort,
    Evaluation,
    Scenario,
    SplitLearning,
    Training,
    cifar10,
    fashion_mnist,
    mnist,
    subset,
    unsplit_cifar,
    unsplit_mnist,
)

SETS = {
    "mnist": (mnist(), unsplit_mnist, {1: "relu4", 2: "relu3"}),
    "fashion": (fashion_mnist(), unsplit_mnist, {1: "relu4", 2: "relu3"}),
    "cifar10": (cifar10(), unsplit_cifar, {1: "sigmoid", 2: "pool3"}),
}

scenarios = [
    Scenario(
        name=f"{name}-tail{depth}",
        population=subset(pool, train=2000, test=1000),
        model=model(cut="1", tail=last_of_server),
        protocol=SplitLearning(u_shaped=True),
        cohort=Cohort(size=1),
        training=Training(rounds=5, lr=1e-3, batch_size=1, optimizer=Adam(), client_state="per_client"),
        evaluation=Evaluation(every=5, clients=None),
        checkpoint_every=1,
    )
    for name, (pool, model, tails) in SETS.items()
    for depth, last_of_server in tails.items()
]
