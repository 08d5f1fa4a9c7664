"""Rounds on a GPU against a bare PyTorch loop on the same GPU, in one process and without Ray.

    python tools/gpu_bench.py [--device cuda] [--clients 50] [--rounds 3] [--json OUT]

A row for each network and protocol: seconds a round of the bare loop (the whole model, client after client, the same
kernels, batches and memory layout), seconds a round of the local engine, their ratio (medians over interleaved rounds),
peak memory of the device, and whether two engines gave the same bits. ``--device cpu`` shows that it works where there
is no GPU; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from raysplit import (
    Cohort,
    Evaluation,
    FedAvg,
    Scenario,
    SplitFedV1,
    SplitFedV2,
    Training,
    femnist_cnn,
    leaf_cnn,
    synthetic_writers,
)
from raysplit.aggregation.fed_server import sum_groups
from raysplit.contracts import ModelSpec, TrainingProtocol
from raysplit.engine.local import LocalEngine
from raysplit.memory.global_state import GlobalState
from raysplit.models.flat import FlatPortion
from raysplit.models.network import build
from raysplit.models.pixels import to_pixels
from raysplit.population.opening import open_population
from raysplit.population.selection.cohort import ParticipationSampler
from raysplit.protocols.plan import RoundPlan
from raysplit.scenario.layout import Layout
from raysplit.simulation.planning import make_plan

MODELS: dict[str, tuple[ModelSpec, int | None]] = {"khan": (femnist_cnn(cut="V2"), None), "leaf": (leaf_cnn(), 20)}
"""Network, and batch size (None: a client's whole set)"""
PROTOCOLS: dict[str, TrainingProtocol] = {"FedAvg": FedAvg(), "SplitFedV1": SplitFedV1(), "SplitFedV2": SplitFedV2()}


def scenario_of(model: str, protocol: str, clients: int) -> Scenario:
    spec, batch = MODELS[model]
    return Scenario(
        name=f"gpu-{model}",
        population=synthetic_writers(writers=max(200, clients)),
        model=spec,
        protocol=PROTOCOLS[protocol],
        cohort=Cohort(size=clients),
        training=Training(rounds=1000, lr=0.06, batch_size=batch),
        evaluation=Evaluation(every=1000),
    )


class BareLoop:
    """The whole model, one client after another, a weighted sum of their weights: no simulator."""

    def __init__(self, scenario: Scenario, device: torch.device) -> None:
        self._scenario, self._device = scenario, device
        self._model = build(scenario.model, scenario.seed).to(device)
        FlatPortion([self._model])  # the simulator's memory layout, so that both run the same kernels
        self._population = open_population(scenario.population)
        self._weights = [parameter.detach().clone() for parameter in self._model.parameters()]

    def round(self, plan: RoundPlan) -> None:
        training, total = self._scenario.training, [torch.zeros_like(weight) for weight in self._weights]
        for client, share in zip(plan.clients.tolist(), plan.weights.tolist(), strict=True):
            with torch.no_grad():
                for parameter, value in zip(self._model.parameters(), self._weights, strict=True):
                    parameter.copy_(value)
            optimizer = torch.optim.SGD(self._model.parameters(), lr=training.lr)
            x, y = self._population.train(client)
            for step in range(training.batching.steps(len(y))):
                chosen = training.batching.indices(self._scenario.seed, plan.round, client, step, len(y))
                rows = slice(None) if chosen is None else torch.from_numpy(chosen)
                batch = to_pixels(x[rows], "unit", training.dtype, self._device)
                optimizer.zero_grad()
                nn.functional.cross_entropy(self._model(batch), y[rows].to(self._device)).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            with torch.no_grad():
                for sum_, parameter in zip(total, self._model.parameters(), strict=True):
                    sum_.add_(parameter, alpha=share)
        self._weights = total


class EngineLoop:
    """Training and averaging as the simulation plays them, without evaluation and tables."""

    def __init__(self, scenario: Scenario, device: torch.device) -> None:
        self._engine = LocalEngine(scenario, str(device))
        state = Layout(scenario).initial()
        self.client, self.server = state.client, state.server

    def round(self, plan: RoundPlan) -> None:
        outcome = self._engine.train(plan, GlobalState(plan.round - 1, self.client, self.server))
        self.client = sum_groups(outcome.client_sums).cpu()
        if outcome.server_sums:
            self.server = sum_groups(outcome.server_sums).cpu()
        elif outcome.server_vector is not None:
            self.server = outcome.server_vector.cpu()


def seconds(play: Callable[[RoundPlan], None], plan: RoundPlan, device: torch.device) -> float:
    began = time.perf_counter()
    play(plan)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def measure(model: str, protocol: str, clients: int, rounds: int, device: torch.device) -> dict[str, Any]:
    """One row. The first round warms up and is not counted."""
    scenario = scenario_of(model, protocol, clients)
    population = open_population(scenario.population)
    sampler = ParticipationSampler(scenario.cohort, scenario.seed, population)
    bare, one, other = BareLoop(scenario, device), EngineLoop(scenario, device), EngineLoop(scenario, device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    taken: list[tuple[float, float]] = []
    for round in range(1, rounds + 2):
        plan = make_plan(scenario, population, round, sampler.of(round))
        taken.append((seconds(bare.round, plan, device), seconds(one.round, plan, device)))
        other.round(plan)
    taken = taken[1:]
    samples = float(
        np.mean([population.train_sizes(sampler.of(r).reporting.clients).sum() for r in range(2, rounds + 2)])
    )
    return {
        "model": model,
        "protocol": protocol,
        "clients": clients,
        "bare_s": statistics.median(b for b, _ in taken),
        "engine_s": statistics.median(e for _, e in taken),
        "ratio": statistics.median(e / b for b, e in taken),
        "samples_per_s": samples / statistics.median(e for _, e in taken),
        "peak_mib": torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else None,
        "same_bits": one.client.equal(other.client) and one.server.equal(other.server),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("there is no CUDA device here; --device cpu shows that the tool works", file=sys.stderr)
        return 2
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}: {options.clients} clients a round, {options.rounds} rounds")
    rows = []
    for model in MODELS:
        for protocol in PROTOCOLS:
            row = measure(model, protocol, options.clients, options.rounds, device)
            rows.append(row)
            print(
                f"  {model:5} {protocol:11} bare {row['bare_s']:.3f} s, engine {row['engine_s']:.3f} s, ratio "
                f"{row['ratio']:.2f}, {row['samples_per_s']:.0f} samples/s, same bits twice: {row['same_bits']}",
                flush=True,
            )
    if options.json is not None:
        options.json.write_text(json.dumps({"device": name, "torch": torch.__version__, "rows": rows}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
