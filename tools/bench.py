"""Speed and memory of the simulator, as ratios against a bare PyTorch loop in the same run.

    python tools/bench.py rounds [--model khan|leaf] [--repeats 5]   FedAvg and SplitFedV1 (Ray, 2 hosts) / bare loop
    python tools/bench.py million                                    1,000,000 virtual clients / 3,550
    python tools/bench.py start                                      seconds from the command to the end of round 1

The bare loop is what a careful person writes by hand: two processes, one thread each, the same kernels and clients,
largest clients first to the less loaded process, a weighted partial sum in each. Rounds are interleaved (bare, FedAvg,
SplitFedV1, bare, …) and every ratio is a median over pairs, by the clock and in CPU-seconds of all processes concerned,
because machines are noisy.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from raysplit import (
    Cohort,
    FedAvg,
    Scenario,
    SplitFedV1,
    Training,
    femnist_cnn,
    leaf_cnn,
    synthetic_writers,
)
from raysplit.aggregation.fed_server import sum_groups
from raysplit.engine.placement import Wanted, lay_out
from raysplit.engine.ray.cluster import connect, object_store_bytes
from raysplit.engine.ray.ray_engine import RayEngine
from raysplit.memory.global_state import GlobalState
from raysplit.models.flat import FlatPortion
from raysplit.models.network import build
from raysplit.population.selection.cohort import ParticipationSampler, draw, malicious_ranks
from raysplit.scenario.layout import Layout
from raysplit.scenario.scenario import Evaluation
from raysplit.simulation.planning import make_plan


def scenario_of(model: str, protocol: FedAvg | SplitFedV1, writers: int = 3550) -> Scenario:
    """Khan's network with a client's whole set as one batch, or LEAF's with batches of 20."""
    khan = model == "khan"
    return Scenario(
        name=f"bench-{model}",
        population=synthetic_writers(writers=writers),
        model=femnist_cnn() if khan else leaf_cnn(),
        protocol=protocol,
        cohort=Cohort(size=100),
        training=Training(rounds=1000, lr=0.06, batch_size=None if khan else 20),
        evaluation=Evaluation(every=1000),
    )


def bare_worker(pipe: Connection, scenario: Scenario) -> None:
    """One process of the bare loop: plain PyTorch, no simulator."""
    torch.set_num_threads(1)
    population = scenario.population.open()
    model = build(scenario.model, scenario.seed)
    FlatPortion(
        [model]
    )  # the same memory layout of kernels as in the simulator, so that both run the same convolutions
    loss_of = nn.CrossEntropyLoss()
    batching = scenario.training.batching
    while True:
        work = pipe.recv()
        if work is None:
            return
        start, round, clients = work
        total = [torch.zeros_like(p) for p in model.parameters()]
        for client, weight in clients:
            with torch.no_grad():
                for parameter, value in zip(model.parameters(), start, strict=True):
                    parameter.copy_(value)
            optimizer = torch.optim.SGD(model.parameters(), lr=scenario.training.lr)
            x, y = population.train(client)
            for step in range(batching.steps(len(y))):
                chosen = batching.indices(scenario.seed, round, client, step, len(y))
                index = slice(None) if chosen is None else torch.from_numpy(chosen)
                batch = x[index].float().div_(255).contiguous(memory_format=torch.channels_last)
                optimizer.zero_grad()
                loss_of(model(batch), y[index]).backward()
                optimizer.step()
            with torch.no_grad():
                for sum_, parameter in zip(total, model.parameters(), strict=True):
                    sum_.add_(parameter, alpha=weight)
        pipe.send([t.numpy() for t in total])


class BareLoop:
    """Two such processes and a parent that adds their sums."""

    def __init__(self, scenario: Scenario) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipes, self.processes = [], []
        for _ in range(2):
            here, there = context.Pipe()
            process = context.Process(target=bare_worker, args=(there, scenario), daemon=True)
            process.start()
            self.pipes.append(here)
            self.processes.append(process)
        self.weights = [p.detach() for p in build(scenario.model, scenario.seed).parameters()]

    def round(self, round: int, clients: np.ndarray, samples: np.ndarray) -> None:
        load, dealt = [0, 0], [[], []]  # type: ignore[var-annotated]
        for k in np.argsort(-samples, kind="stable"):
            worker = int(load[1] < load[0])
            load[worker] += int(samples[k])
            dealt[worker].append((int(clients[k]), float(samples[k] / samples.sum())))
        for pipe, share in zip(self.pipes, dealt, strict=True):
            pipe.send((self.weights, round, share))
        parts = [pipe.recv() for pipe in self.pipes]
        self.weights = [torch.from_numpy(a + b) for a, b in zip(*parts, strict=True)]

    def close(self) -> None:
        for pipe, process in zip(self.pipes, self.processes, strict=True):
            pipe.send(None)
            process.join()


def engine_round(scenario: Scenario, engine: RayEngine) -> Callable[[int], None]:
    """One training round with aggregation, as the simulation plays it, without evaluation or metrics."""
    population = scenario.population.open()
    sampler = ParticipationSampler(scenario.cohort, scenario.seed, population)
    state = Layout(scenario).initial()
    portions = {"client": state.client, "server": state.server}

    def play(round: int) -> None:
        plan = make_plan(scenario, population, round, sampler.of(round))
        outcome = engine.train(plan, GlobalState(round, portions["client"], portions["server"]))
        portions["client"] = sum_groups(outcome.client_sums)
        if outcome.server_sums:
            portions["server"] = sum_groups(outcome.server_sums)

    return play


class Took(NamedTuple):
    """Seconds by the clock, and seconds that the processes which train spent on a core: the measure on a busy
    machine."""

    wall: float
    cpu: float


def timed(play: Callable[[], object], pids: Sequence[int]) -> Took:
    began, spent = time.perf_counter(), cpu_seconds(pids)
    play()
    return Took(time.perf_counter() - began, cpu_seconds(pids) - spent)


def cpu_seconds(pids: Sequence[int]) -> float:
    """User and system time of these processes and of this one so far."""
    ticks = 0
    for pid in [*pids, os.getpid()]:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def rounds(model: str, repeats: int) -> None:
    scenarios = {"FedAvg": scenario_of(model, FedAvg()), "SplitFedV1": scenario_of(model, SplitFedV1())}
    first = next(iter(scenarios.values()))
    population = first.population.open()
    ranks = malicious_ranks(first.seed, population.info.clients)
    portion = Layout(scenarios["FedAvg"]).client.vector.numel() * 4
    bare = BareLoop(first)
    with connect(None, object_store_bytes(first, portion), cpus=4) as have:
        engines = {n: RayEngine(s, lay_out(s, have, Wanted(hosts=2))) for n, s in scenarios.items()}
        plays = {name: engine_round(scenarios[name], engines[name]) for name in scenarios}
        times: dict[str, list[Took]] = {name: [] for name in ("bare", *scenarios)}
        counts = {}
        for round in range(1, repeats + 2):
            sampled = draw(first.cohort, first.seed, round, ranks)
            samples = population.train_sizes(sampled.clients)
            workers = [process.pid or 0 for process in bare.processes]
            took = {"bare": timed(functools.partial(bare.round, round, sampled.clients, samples), workers)}
            for name, play in plays.items():
                engines[name].counts()
                took[name] = timed(functools.partial(play, round), list(engines[name].pids.values()))
                counts[name] = engines[name].counts()
            if round > 1:  # the first round warms allocators and caches
                for name, seconds in took.items():
                    times[name].append(seconds)
        for engine in engines.values():
            engine.close()
    bare.close()
    print(f"{model}: 100 of 3,550 clients a round, {repeats} interleaved rounds, 2 processes x 1 thread")
    print(f"  bare loop   {statistics.median(took.wall for took in times['bare']):7.3f} s a round")
    for name in scenarios:
        pairs = list(zip(times[name], times["bare"], strict=True))
        print(
            f"  {name:<11} {statistics.median(took.wall for took in times[name]):7.3f} s a round; x the bare loop: "
            f"{_spread([t.wall / b.wall for t, b in pairs])} by the clock, "
            f"{_spread([t.cpu / b.cpu for t, b in pairs])} in CPU-seconds; "
            f"{counts[name].ray_calls} Ray calls a round; peak {counts[name].peak_memory_bytes / 2**20:.0f} MiB in "
            "the largest process"
        )


def _spread(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.3f} ({min(ratios):.3f} .. {max(ratios):.3f})"


def million(repeats: int) -> None:
    """Resident memory of a host and time of a round, 1,000,000 clients against 3,550, interleaved, in processes of
    their own."""
    code = (
        "import sys, time, resource, statistics\n"
        "from tools.bench import *\n"
        "from raysplit.engine.local import LocalEngine\n"
        "s = scenario_of('khan', FedAvg(), writers=int(sys.argv[1]))\n"
        "with LocalEngine(s) as e:\n"
        "    play = engine_round(s, e); play(1)\n"
        "    ranks, people = malicious_ranks(s.seed, int(sys.argv[1])), s.population.open()\n"
        "    size = lambda r: people.train_sizes(draw(s.cohort, s.seed, r, ranks).clients).sum()\n"
        "    t = [timed(lambda r=r: play(r), []).wall / size(r) for r in range(2, 5)]\n"
        "    rss = [l for l in open('/proc/self/status') if l.startswith('VmRSS')][0].split()[1]\n"
        "print(rss, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, statistics.median(t))\n"
    )
    results: dict[int, list[list[float]]] = {3550: [], 1_000_000: []}
    for _ in range(repeats):
        for writers, rows in results.items():
            out = subprocess.run(
                [sys.executable, "-c", code, str(writers)], stdout=subprocess.PIPE, text=True, check=True
            )
            rows.append([float(value) for value in out.stdout.split()])
    for column, name, unit in (
        (0, "resident memory", 1 / 1024),
        (1, "peak memory", 1 / 1024),
        (2, "time a sample", 1e6),
    ):
        small, large = (statistics.median(row[column] for row in results[w]) for w in results)
        print(f"  {name:<16} 3,550: {small * unit:9.1f}   1,000,000: {large * unit:9.1f}   ratio {large / small:.3f}")


def start() -> None:
    """From the command to the end of round 1 of the quick start, read off the command's JSON lines; five times."""
    command = [sys.executable, "-m", "raysplit.app.cli", "run", "scenarios/quickstart.py", "--json", "--overwrite"]
    command += ["--only", "quickstart-clean", "--set", "training.rounds=2", "--out", "build/bench-start"]
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            rounds = (time.perf_counter() - began for line in process.stdout if '"event": "round"' in line)
            taken.append(next(rounds))
            process.communicate()
    listed = ", ".join(f"{seconds:.1f}" for seconds in taken)
    print(f"  first round finished {statistics.median(taken):.1f} s after the command (median of {listed})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["rounds", "million", "start"])
    parser.add_argument("--model", choices=["khan", "leaf"], default="khan")
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.getcwd(), os.environ.get("PYTHONPATH")]))
    if chosen.what == "rounds":
        rounds(chosen.model, chosen.repeats)
    elif chosen.what == "million":
        million(chosen.repeats)
    else:
        start()


if __name__ == "__main__":
    main()
