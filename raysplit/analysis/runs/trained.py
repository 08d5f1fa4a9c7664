"""The model that a run trained: as a module of its own, and on test sets as the simulator evaluates it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from raysplit.engine.local import LocalEngine
from raysplit.errors import RunError
from raysplit.memory.global_state import GlobalState
from raysplit.models.network import build
from raysplit.models.noise.prediction import AveragedDraws, averaged_draws
from raysplit.models.pixels import Pixels, to_pixels
from raysplit.population.opening import open_population
from raysplit.population.population import PopulationSpec
from raysplit.protocols.joint import joint
from raysplit.scenario.layout import Layout
from raysplit.scenario.population_check import check_population
from raysplit.scenario.scenario import Scenario
from raysplit.simulation.evaluation import Evaluated, evaluation_clients
from raysplit.storage.checkpoints import newest_checkpoint, read_checkpoint
from raysplit.storage.run_folder import RunFolder
from raysplit.threads import one_thread


@dataclass(frozen=True)
class Trained:
    """A run's newest state, and the scenario that led to it. ``path``: the run's folder."""

    path: Path
    scenario: Scenario
    state: GlobalState

    @property
    def personal(self) -> bool:
        """Whether clients keep portions of their own, so that there is no one global model."""
        return self.scenario.protocol.client_sync == "personal"


class TrainedModel(nn.Module):
    """The whole network with trained weights, from stored samples to logits [B, classes].

    Bytes are scaled as ``Scenario.pixels`` says, floats pass; both in the precision of the weights, on their device. A
    network with a noise layer predicts by its mean softmax over ``averaged`` draws, of which this gives the logarithm.
    """

    def __init__(self, network: nn.Module, pixels: Pixels, averaged: AveragedDraws | None = None) -> None:
        super().__init__()
        self.network = network
        self.pixels = pixels
        self.averaged = averaged

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = next(self.network.parameters())
        pixels = to_pixels(x, self.pixels, weight.dtype, weight.device)
        if self.averaged is not None:
            return self.averaged.scores(lambda: self.network(pixels))
        logits: torch.Tensor = self.network(pixels)
        return logits


def read_trained(path: Path, scenario: Scenario) -> Trained:
    """The newest checkpoint of the run in ``path``. Raises ``RunError`` where there is none or it is damaged."""
    checkpoint = newest_checkpoint(RunFolder(path).checkpoints)
    if checkpoint is None:
        raise RunError(f"{path} has no checkpoint yet, so it has no trained model; let it run on")
    return Trained(path, scenario, read_checkpoint(checkpoint, Layout(scenario), scenario.hash, to_train=False))


def trained_model(trained: Trained, client: int | None) -> TrainedModel:
    """The network in evaluation mode; ``client``: whose, where clients keep portions of their own."""
    scenario, state = trained.scenario, trained.state
    kind = type(scenario.protocol).__name__
    if trained.personal and client is None:
        raise RunError(
            f"the clients of {kind} keep portions of their own, so {trained.path} has no one model; ask for a "
            "client's: model(client=0)"
        )
    if not trained.personal and client is not None:
        raise RunError(f"all clients of {kind} have the same model; leave client={client} out")
    if client is not None:
        check_client(client, scenario)
    portion = state.client if client is None else state.client_portions.get(client, state.client)
    layout = Layout(scenario)
    weights = {**layout.client.named_tensors(portion), **layout.server.named_tensors(state.server)}
    network = build(joint(scenario.model, scenario.protocol), scenario.seed, scenario.training.dtype)
    network.load_state_dict(weights, strict=False)  # integer buffers are no part of a portion
    averaged = averaged_draws([network], scenario.seed, "pixeldp_use")
    return TrainedModel(network, scenario.pixels, averaged).eval()


@one_thread()
def evaluate_trained(trained: Trained, population: PopulationSpec | None, clients: Sequence[int] | None) -> Evaluated:
    """As the round evaluates: the same engine code, the same batches, one thread; so the same last bits."""
    scenario = trained.scenario
    if population is not None and population != scenario.population:
        if trained.personal:
            raise RunError(
                f"{type(scenario.protocol).__name__} trained a portion for each client of its own population, and "
                "clients of another one have none; leave population out"
            )
        scenario = scenario.replace(population=population)
    info = open_population(scenario.population).info
    check_population(scenario, info)
    for client in clients or ():
        check_client(client, scenario)
    ids = evaluation_clients(scenario, info) if clients is None else np.array(clients, dtype=np.int64)
    if not len(ids):
        raise RunError("evaluate() needs at least one client; leave clients out for those of the scenario's Evaluation")
    state = trained.state
    with LocalEngine(scenario) as engine:
        scores = engine.evaluate(ids, state.client, state.server, state.client_portions if trained.personal else None)
    if not scores.samples.sum():
        raise RunError(f"the chosen clients of {info.name!r} have no test samples; choose others")
    return Evaluated.of(scores)


def check_client(client: int, scenario: Scenario) -> None:
    """Raise ``RunError`` where the scenario's population has no such client."""
    info = open_population(scenario.population).info
    if not 0 <= client < info.clients:
        raise RunError(
            f"there is no client {client} in the population {info.name!r}, which has {info.clients}, counted from 0"
        )
