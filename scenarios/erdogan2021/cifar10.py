"""Erdoğan et al. 2021 (UnSplit), section 5: CIFAR-10 at split depths 1 to 8, as mnist.py; ``small`` trains on 5,000 images
for four epochs, some two and a half CPU-minutes a depth, and stops at depth 3::

    raysplit run scenarios/erdogan2021/cifar10.py --only "small-*" --engine local
    raysplit infer runs/small-depth1-HASH --attack "UnSplit(rounds=50, clones='in_turn', prior=ImagePrior(energy=1.0))"

The network has 1.6 million parameters, so ten epochs over the set take hours on a CPU, and every round of the attack at
depth 2 convolves 64 maps with 64. What was measured: docs/papers/erdogan2021.md.
"""

from raysplit import Adam, Cohort, Evaluation, Scenario, SplitLearning, Training, cifar10, subset, unsplit_cifar

SIZES = {
    "full": (cifar10(), 10, range(1, 9)),
    "small": (subset(cifar10(), train=5000, test=2000), 4, range(1, 4)),
}

scenarios = [
    Scenario(
        name=f"{size}-depth{depth}",
        population=population,
        model=unsplit_cifar(cut=str(depth)),
        protocol=SplitLearning(),
        cohort=Cohort(size=1),
        training=Training(rounds=rounds, lr=1e-3, batch_size=64, optimizer=Adam(), client_state="per_client"),
        evaluation=Evaluation(every=rounds, clients=None),
        checkpoint_every=rounds,
    )
    for size, (population, rounds, depths) in SIZES.items()
    for depth in depths
]
