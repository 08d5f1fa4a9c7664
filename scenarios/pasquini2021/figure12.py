"""Pasquini et al. 2021, Figure 12: the client-side GAN attack on split learning with labels that stay at the clients,
ten honest clients and one malicious, MNIST classes 1 to 3 and three AT&T faces, each at the published size and at one
that two cores finish. Networks of the public code: head Conv 5×5, server Conv 5×5, tail one dense layer with a class
more than the data have, the dummy.

    raysplit run scenarios/pasquini2021/figure12.py --only small-mnist-sgd-1 --engine local --keep-state
    raysplit infer runs/small-mnist-sgd-1-HASH --attack "GeneratedSamples()" --party client

``sgd`` and ``adam`` name the optimiser of the server portion, ``plain`` is without the gradient scaling (ε = 1),
``unpoisoned`` trains the generator alone, ``clean`` is without an attack. An iteration is a batch of each of the eleven
clients, as in the code, handed over from one to the next; a round has ``STEPS`` of them. What is published of AT&T is its
pictures alone; its settings are guessed. What was measured: docs/papers/pasquini2021.md.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from torch import nn

from raysplit import (
    Adam,
    Cohort,
    Evaluation,
    GanAttack,
    Iid,
    Scenario,
    Sgd,
    SplitLearning,
    Training,
    att_faces,
    mnist,
    part,
    partitioned,
    subset,
)
from raysplit.contracts import ModelSpec, PopulationSpec

CLIENTS = 11


@part
class Discriminator(ModelSpec):
    """DCGAN's in the manner of the public code: two convolutions of stride 2, leaky ReLU, dropout, a dense layer."""

    input_shape: tuple[int, int, int]
    classes: int
    width: int = 64
    cut: str | None = "head"
    tail: str | None = "server"

    @property
    def cuts(self) -> Mapping[str, str]:
        return {"head": "head", "server": "server"}

    def stages(self) -> list[tuple[str, nn.Module]]:
        channels, height, side = self.input_shape
        grid = -(-height // 4) * -(-side // 4)
        return [
            ("head", self._half(channels, self.width)),
            ("server", self._half(self.width, 2 * self.width)),
            ("tail", nn.Sequential(nn.Flatten(), nn.Linear(2 * self.width * grid, self.classes))),
        ]

    def _half(self, channels: int, width: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(channels, width, 5, 2, 2), nn.LeakyReLU(0.3), nn.Dropout(0.3))


class Size(NamedTuple):
    """``width``: of both networks; ``steps``: a client's batches a round."""

    population: PopulationSpec
    model: Discriminator
    batch: int
    rounds: int
    lr: float
    server_sgd_lr: float
    generator_lr: float


def _mnist(width: int) -> Discriminator:
    return Discriminator((1, 28, 28), 11, width)


def _faces(width: int) -> Discriminator:
    return Discriminator((1, 112, 92), 41, width)


def _dealt(pool: PopulationSpec, train: int | None = None) -> PopulationSpec:
    chosen = pool if train is None else subset(pool, train=train, test=1000)
    return partitioned(chosen, Iid(), clients=CLIENTS)


SIZES = {
    "small-mnist": Size(_dealt(mnist(), 3520), _mnist(16), 32, 50, 1e-3, 0.05, 1e-3),
    "small-faces": Size(_dealt(att_faces(pool=True)), _faces(8), 16, 150, 1e-3, 0.05, 1e-3),
    "full-mnist": Size(_dealt(mnist()), _mnist(64), 256, 455, 1e-4, 0.01, 1e-4),
    "full-faces": Size(_dealt(att_faces(pool=True)), _faces(64), 16, 5000, 1e-4, 0.01, 1e-4),
}
"""10,000 iterations at the full sizes: 22 a round on MNIST, 2 on the faces; 500 and 300 at the small ones."""


def scenario(name: str, size: Size, server: str, attack: GanAttack | None) -> Scenario:
    return Scenario(
        name=name,
        population=size.population,
        model=size.model,
        protocol=SplitLearning(u_shaped=True, schedule="minibatch"),
        cohort=Cohort(size=CLIENTS, malicious=1 / CLIENTS),
        training=Training(
            rounds=size.rounds,
            lr=size.lr,
            batch_size=size.batch,
            optimizer=Adam(),
            client_state="travels",
            server_optimizer=Sgd() if server == "sgd" else Adam(),
            server_lr=size.server_sgd_lr if server == "sgd" else size.lr,
        ),
        attack=attack,
        evaluation=Evaluation(every=10, clients=None),
        pixels="centred",
        checkpoint_every=10,
    )


def _attack(size: Size, target: int, epsilon: float = 1e-5, poisons: bool = True) -> GanAttack:
    poison: Literal["even", "never"] = "even" if poisons else "never"
    return GanAttack(target=target, epsilon=epsilon, width=size.model.width, lr=size.generator_lr, poison=poison)


scenarios = []
for label, size in SIZES.items():
    for server in ("sgd", "adam"):
        scenarios.append(scenario(f"{label}-{server}-clean", size, server, None))
        scenarios.append(scenario(f"{label}-{server}-plain-1", size, server, _attack(size, 1, 1.0)))
        unpoisoned = _attack(size, 1, poisons=False)
        scenarios.append(scenario(f"{label}-{server}-unpoisoned-1", size, server, unpoisoned))
        scenarios += [
            scenario(f"{label}-{server}-{target}", size, server, _attack(size, target)) for target in (1, 2, 3)
        ]
