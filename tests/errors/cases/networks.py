"""Networks that cannot be trained where they are cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from raysplit.population.arrow_writer import ClientData, write_population
from tests.errors.making import CASES, TINY, case, on_file, population, scenario

NETWORK = """\
import torch
from torch import nn

from raysplit import *


class Does(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    def forward(self, x):
        {does}
        return x


def make():
    head, body = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1)), nn.Sequential(nn.Flatten(), nn.Linear(784, 62))
    {changed}
    return [("a", head), ("b", body)]


scenario = Scenario(
    name="tiny",
    population=synthetic_writers(writers=20, mean_samples=30, sd_samples=5),
    model=sequential(make, (1, 28, 28), 62, cut="a"),
    protocol=SplitFedV1(),
    cohort=Cohort(size=4),
    training=Training(rounds=3, lr=0.05, batch_size={batch}),
    defense={defense},
)
"""


def network(name: str, changed: str, does: str = "pass", defense: str = "Mean()", batch: str = "None") -> None:
    """A case whose network is ``changed`` before it is cut, and whose own layer ``does`` something to x."""
    text = NETWORK.format(changed=changed, does=does, defense=defense, batch=batch)
    CASES[name] = lambda here: scenario(here, text)


network("network-lazy", "body[1] = nn.LazyLinear(62)")
network("network-tuple", "head.append(Does()), body.insert(0, Does())", "x = x[0] if isinstance(x, tuple) else (x, x)")
network("network-in-place", "body.insert(0, Does())", "x += 1")
network("network-counts", "head.append(Does())", "self.seen += 1")
network("network-remembers", "head.append(Does())", "self.last = getattr(self, 'last', 0) + 1; x = x + self.last")
network("network-detached", "head.append(Does())", "x = x.detach()")
network("network-width", "body[1] = nn.Linear(784, 5)")
network("network-frozen", "head.requires_grad_(False), body.requires_grad_(False)")
network("network-frozen-rule", "head.requires_grad_(False)", defense="Median()")


@case
def network_weights(here: Path) -> list[str]:
    model = 'torchvision_model("resnet18", cut="layer1", weights="IMAGENET1K_V1")'
    return scenario(here, TINY.replace('femnist_cnn(cut="V2")', model))


@case
def batch_of_one(here: Path) -> list[str]:
    population(here)
    text = NETWORK.format(changed="body.append(nn.BatchNorm1d(62))", does="pass", defense="Mean()", batch="2")
    return scenario(
        here, text.replace("synthetic_writers(writers=20, mean_samples=30, sd_samples=5)", 'ArrowFile("letters.arrow")')
    )


@case
def population_untested(here: Path) -> list[str]:
    pixels, labels = np.zeros((3, 1, 28, 28), dtype=np.uint8), np.zeros(3, dtype=np.int64)
    clients = [ClientData(f"w{n}", pixels, labels, pixels[:0], labels[:0]) for n in range(20)]
    write_population(here / "letters.arrow", clients, name="letters", shape=(1, 28, 28), classes=62)
    return on_file(here)
