"""Erdoğan et al. 2021 (UnSplit), section 5: Fashion-MNIST at split depths 1 to 6, as mnist.py; ``small`` trains on a third
of the set for three epochs, some ten CPU-seconds a depth::

    raysplit run scenarios/erdogan2021/fashion.py --only "small-*" --engine local
    raysplit infer runs/small-depth1-HASH --attack "UnSplit(rounds=100, clones='in_turn', prior=ImagePrior(energy=1.0))"

Behind depth 3 the paper's TV weight is 1: ``ImagePrior(variation=1.0)``. What was measured: docs/papers/erdogan2021.md.
"""

from raysplit import Adam, Cohort, Evaluation, Scenario, SplitLearning, Training, fashion_mnist, subset, unsplit_mnist

SIZES = {"full": (fashion_mnist(), 10), "small": (subset(fashion_mnist(), train=20_000, test=10_000), 3)}

scenarios = [
    Scenario(
        name=f"{size}-depth{depth}",
        population=population,
        model=unsplit_mnist(cut=str(depth)),
        protocol=SplitLearning(),
        cohort=Cohort(size=1),
        training=Training(rounds=rounds, lr=1e-3, batch_size=64, optimizer=Adam(), client_state="per_client"),
        evaluation=Evaluation(every=rounds, clients=None),
        checkpoint_every=rounds,
    )
    for size, (population, rounds) in SIZES.items()
    for depth in range(1, 7)
]
