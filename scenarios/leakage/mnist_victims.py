"""Attacks that simulate the client portion from data of the same kind: SDAR (Zhu et al. 2025), whose U-shaped form names
labels too, and FORA (Xu et al. 2024), which has public images alone. MNIST, the network of UnSplit cut at depth 1, and
in a U-shape with the last dense layer at the client::

    raysplit run scenarios/leakage/mnist_victims.py --engine local
    raysplit infer runs/vanilla-HASH --samples 1000 --auxiliary 2000 --attack "Fora()"
    raysplit infer runs/u-shaped-HASH --samples 1000 --auxiliary 2000 --attack "Sdar(steps=1000, label_noise=0.1)"

Published: along the training of the victim; here against the trained one. Published for labels in a U-shape: 98.7 %
(ResNet-20, CIFAR-10, level 4). What was measured: docs/how-to/inference.md.
"""

from raysplit import Adam, Cohort, Evaluation, Scenario, SplitLearning, Training, mnist, subset, unsplit_mnist

PROTOCOLS = {"vanilla": SplitLearning(), "u-shaped": SplitLearning(u_shaped=True)}

scenarios = [
    Scenario(
        name=name,
        population=subset(mnist(), train=20_000, test=5000),
        model=unsplit_mnist(cut="1", tail="relu4" if protocol.u_shaped else None),
        protocol=protocol,
        cohort=Cohort(size=1),
        training=Training(rounds=5, lr=1e-3, batch_size=64, optimizer=Adam(), client_state="per_client"),
        evaluation=Evaluation(every=5, clients=None),
        checkpoint_every=5,
    )
    for name, protocol in PROTOCOLS.items()
]
