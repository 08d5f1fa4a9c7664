"""Toys to train on: a made-up population, a network of a few hundred parameters, and a run of them in milliseconds."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from raysplit.channels.hooks import MessageHook, Observation
from raysplit.engine.engine import Engine
from raysplit.engine.local import LocalEngine
from raysplit.memory.global_state import GlobalState
from raysplit.models.network import ModelSpec
from raysplit.parts.part import part
from raysplit.population.population import PopulationInfo, PopulationSpec, Samples
from raysplit.population.selection.cohort import Cohort
from raysplit.protocols.protocol import TrainingProtocol
from raysplit.scenario.layout import Layout
from raysplit.scenario.scenario import Scenario
from raysplit.simulation.simulation import Output, Progress, RoundReport, simulate
from raysplit.storage.schemas import SCHEMAS
from raysplit.storage.tables import open_tables, read_table
from raysplit.training.optimizers import Sgd
from raysplit.training.settings import Training


@part
class ToyClients(PopulationSpec):
    """``order``: client k owns the data of ``order[k]``, so that a test can deal the same data to other ids."""

    clients: int = 6
    shape: tuple[int, int, int] = (1, 8, 8)
    classes: int = 5
    smallest: int = 3
    order: tuple[int, ...] | None = None

    def open(self) -> OpenToys:
        return OpenToys(self)


class OpenToys:
    """Random images; client k has ``smallest + 7k mod 11`` of them, and a few to test on."""

    def __init__(self, spec: ToyClients) -> None:
        self.spec = spec
        self.info = PopulationInfo("toys", spec.clients, spec.classes, spec.shape, True, repr(spec))

    def train_sizes(self, clients: np.ndarray) -> np.ndarray:
        return self.spec.smallest + self._data(clients) * 7 % 11

    def test_sizes(self, clients: np.ndarray) -> np.ndarray:
        return 1 + self._data(clients) % 4

    def train(self, client: int) -> Samples:
        return self._samples(client, int(self.train_sizes(np.array([client]))[0]), 0)

    def test(self, client: int) -> Samples:
        return self._samples(client, int(self.test_sizes(np.array([client]))[0]), 1_000_000)

    def _data(self, clients: np.ndarray) -> np.ndarray:
        clients = np.asarray(clients, dtype=np.int64)
        return clients if self.spec.order is None else np.array(self.spec.order)[clients]

    def _samples(self, client: int, count: int, offset: int) -> Samples:
        generator = torch.Generator().manual_seed(offset + int(self._data(np.array([client]))[0]))
        x = torch.randint(0, 256, (count, *self.spec.shape), generator=generator, dtype=torch.uint8)
        return Samples(x, torch.randint(0, self.spec.classes, (count,), generator=generator))


@part
class ToyCnn(ModelSpec):
    """Four stages, 301 parameters; with ``batch_norm`` one BatchNorm on each side of the cut V1."""

    cut: str | None = "V2"
    tail: str | None = None
    batch_norm: bool = False

    @property
    def cuts(self) -> Mapping[str, str]:
        return {"V1": "conv1", "V2": "conv2", "V3": "fc1"}

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return (1, 8, 8)

    @property
    def classes(self) -> int:
        return 5

    def stages(self) -> list[tuple[str, nn.Module]]:
        return [
            ("conv1", nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), *self._norm(3), nn.MaxPool2d(2), nn.ReLU())),
            ("conv2", nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), *self._norm(4), nn.MaxPool2d(2), nn.ReLU())),
            ("fc1", nn.Sequential(nn.Flatten(), nn.Linear(16, 7), nn.ReLU())),
            ("fc2", nn.Linear(7, 5)),
        ]

    def _norm(self, channels: int) -> list[nn.Module]:
        return [nn.BatchNorm2d(channels)] if self.batch_norm else []


@part
class FrozenCnn(ToyCnn):
    """A ToyCnn whose ``frozen`` stages do not train; their BatchNorm stays in evaluation mode with ``still``."""

    frozen: tuple[str, ...] = ()
    still: bool = False

    def stages(self) -> list[tuple[str, nn.Module]]:
        stages = super().stages()
        for name, stage in stages:
            if name in self.frozen:
                stage.requires_grad_(False).train(not self.still)
        return stages


SCRATCH = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""Memory, where forcing a file to disk costs nothing: a run of two rounds does so 42 times."""

SGD = Sgd(momentum=0.9, weight_decay=1e-3)


def toy(
    protocol: TrainingProtocol, cut: str | None = "V2", tail: str | None = None, clients: int = 6, **changes: Any
) -> Scenario:
    """A toy scenario in which everybody takes part; ``changes`` as in ``Scenario.replace``, with ``__`` for the dot.

    A ``model`` among the changes replaces the network that ``cut`` and ``tail`` describe.
    """
    scenario = Scenario(
        name="toy",
        population=ToyClients(clients),
        model=changes.pop("model", ToyCnn(cut, tail)),
        protocol=protocol,
        cohort=Cohort(clients),
        training=Training(rounds=2, lr=0.05, batch_size=4, optimizer=SGD),
    )
    return scenario.replace(**{path.replace("__", "."): value for path, value in changes.items()})


@dataclass(frozen=True)
class Played:
    """A finished run: its last state, that state as named tensors, and its tables."""

    state: GlobalState
    layout: Layout
    named: dict[str, torch.Tensor]
    tables: dict[str, pa.Table]
    diverged: bool
    observations: list[Observation] = field(default_factory=list)

    @property
    def digest(self) -> str:
        return self.layout.digest(self.state)

    def bytes_on(self, round: int = 1) -> dict[str, int]:
        """Bytes of tensors by channel in a round, labels left out."""
        rows = [row for row in self.tables["channels"].to_pylist() if row["round"] == round]
        return {row["channel"]: row["bytes"] - row["label_bytes"] for row in rows}

    def messages_on(self, round: int = 1) -> dict[str, int]:
        return {row["channel"]: row["messages"] for row in self.tables["channels"].to_pylist() if row["round"] == round}

    def label_bytes_on(self, round: int = 1) -> dict[str, int]:
        rows = [row for row in self.tables["channels"].to_pylist() if row["round"] == round]
        return {row["channel"]: row["label_bytes"] for row in rows if row["label_bytes"]}

    def retries(self) -> int:
        return sum(self.tables["rounds"].column("retries").to_pylist())


class _Noting:
    """An engine, and the observations that came back with its rounds."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.observations: list[Observation] = []

    def train(self, *args: Any, **options: Any) -> Any:
        outcome = self._engine.train(*args, **options)
        self.observations += outcome.observations
        return outcome

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


def play(
    scenario: Scenario,
    engine: Engine | None = None,
    hooks: tuple[MessageHook, ...] = (),
    start: GlobalState | None = None,
    folder: Path | None = None,
    watch: Callable[[RoundReport], None] = lambda report: None,
) -> Played:
    """Run a scenario to its end, on the local engine unless another is given, which stays open."""
    layout = Layout(scenario)
    with tempfile.TemporaryDirectory(dir=SCRATCH) as scratch:
        run = folder or Path(scratch)
        used = engine or LocalEngine(scenario, hooks=hooks)
        noting = _Noting(used)
        try:
            with open_tables(run / "metrics") as tables:
                progress = Progress(start or layout.initial())
                population = scenario.population.open()
                finish = simulate(scenario, population, noting, Output(tables, run / "checkpoints"), progress, watch)
        finally:
            if engine is None:
                used.close()
        read = {name: read_table(run / "metrics" / f"{name}.arrow") for name in SCHEMAS}
    return Played(finish.state, layout, layout.named(finish.state), read, finish.diverged, noting.observations)


def distance(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """The largest absolute difference of two models, which must have the same tensors."""
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def weighted_average(models: list[dict[str, torch.Tensor]], weights: list[float]) -> dict[str, torch.Tensor]:
    """Σ weight · model, tensor by tensor."""
    pairs = list(zip(models, weights, strict=True))
    return {name: torch.stack([weight * model[name] for model, weight in pairs]).sum(0) for name in models[0]}
