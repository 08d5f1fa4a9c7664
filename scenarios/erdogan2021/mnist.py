"""Erdoğan et al. 2021 (UnSplit), section 5: the client model of MNIST at split depths 1 to 6, trained on the whole
training set for 10 epochs (Adam, 1e-3, batches of 64), as one client and one server.

Then, for Table 2 (published: 1000 rounds, TV 0.1 at depths 1 to 3 and 1 behind them)::

    raysplit infer runs/depth1-HASH --attack "UnSplit()"
    raysplit infer runs/depth1-HASH --attack "UnSplit(rounds=1000, clones='in_turn', prior=ImagePrior(energy=1.0))"

The ten samples are the first test image of each class. What was measured: docs/papers/erdogan2021.md.
"""

from raysplit import Adam, Cohort, Evaluation, Scenario, SplitLearning, Training, mnist, unsplit_mnist

scenarios = [
    Scenario(
        name=f"depth{depth}",
        population=mnist(),
        model=unsplit_mnist(cut=str(depth)),
        protocol=SplitLearning(),
        cohort=Cohort(size=1),
        training=Training(rounds=10, lr=1e-3, batch_size=64, optimizer=Adam(), client_state="per_client"),
        evaluation=Evaluation(every=10, clients=None),
        checkpoint_every=10,
    )
    for depth in range(1, 7)
]
