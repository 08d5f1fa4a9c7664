"""Feature-space hijacking (Pasquini et al. 2021, CCS) on MNIST at a size that two cores finish: 20 clients share the
images, one trains a round, and the main server hijacks all of them.

After the run the private images of a round are::

    raysplit infer runs/hijacked-HASH --attack HijackedInversion --round 40

What was measured: docs/papers/pasquini2021.md.
"""

from raysplit import (
    Adam,
    Cohort,
    Evaluation,
    FeatureSpaceHijacking,
    Iid,
    Scenario,
    SplitLearning,
    Training,
    mnist,
    partitioned,
    unsplit_mnist,
)

scenario = Scenario(
    name="hijacked",
    population=partitioned(mnist(), Iid(), clients=20),
    model=unsplit_mnist(cut="2"),
    protocol=SplitLearning(),
    cohort=Cohort(size=1),
    training=Training(rounds=40, lr=1e-3, batch_size=64, optimizer=Adam(), client_state="travels"),
    attack=FeatureSpaceHijacking(),
    evaluation=Evaluation(every=10, clients=2),
    checkpoint_every=10,
)
