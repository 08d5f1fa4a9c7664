"""A round whose updates, n·d floats, fit in no process: how large every process grows, and how long the round takes.

python tools/bench_shards.py [--clients 100] [--parameters 25000000] [--shards 4] [--hosts 1] [--rule TrimmedMean]
[--attack AgrTailored]

A real round on the Ray engine: FedAvg on a network of that many parameters, made-up writers of a few samples, a fifth
of them malicious. Peaks are VmHWM of /proc, which counts shared memory (Ray's store) in every process that maps it.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch import nn

import raysplit
from raysplit.aggregation.rule import AggregationRule
from raysplit.aggregation.update_attack import UpdateAttack
from raysplit.engine.placement import Wanted, lay_out
from raysplit.engine.ray.cluster import by_value, connect, object_store_bytes
from raysplit.engine.ray.ray_engine import RayEngine
from raysplit.population.selection.cohort import Cohort
from raysplit.protocols.fedavg import FedAvg
from raysplit.scenario.layout import Layout
from raysplit.scenario.scenario import Evaluation, Scenario
from raysplit.simulation.simulation import Output, Progress, simulate
from raysplit.storage.tables import open_tables, read_table
from raysplit.training.settings import Training

PER_UNIT = 28 * 28 + 1 + 62


def wide(units: int) -> list[tuple[str, nn.Module]]:
    """One hidden layer: many parameters, little to compute."""
    return [
        ("hidden", nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, units), nn.ReLU())),
        ("out", nn.Linear(units, 62)),
    ]


def scenario_of(options: argparse.Namespace) -> Scenario:
    rule: AggregationRule = getattr(raysplit, options.rule)()
    attack: UpdateAttack | None = None if options.attack == "none" else getattr(raysplit, options.attack)()
    return Scenario(
        name="shards",
        population=raysplit.synthetic_writers(writers=options.clients, mean_samples=4, sd_samples=1),
        model=raysplit.sequential(wide, (1, 28, 28), 62, units=round(options.parameters / PER_UNIT)),
        protocol=FedAvg(),
        cohort=Cohort(size=options.clients, malicious=0.2, of="cohort"),
        training=Training(rounds=1, lr=0.01),
        defense=rule,
        attack=attack,
        evaluation=Evaluation(clients=2),
    )


def family(root: int) -> dict[int, str]:
    """This process and all below it, by process id: their commands."""
    parents, names = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            pid, rest = int(entry.name), stat.rsplit(")", 1)
            names[pid], parents[pid] = rest[0].split("(", 1)[1], int(rest[1].split()[1])
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return {pid: names[pid] for pid in found if pid in names}


def peak_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--parameters", type=int, default=25_000_000)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--hosts", type=int, default=1)
    parser.add_argument("--rule", default="TrimmedMean")
    parser.add_argument("--attack", default="AgrTailored", help="or none")
    options = parser.parse_args()
    torch.set_num_threads(1)
    scenario = scenario_of(options)
    layout = Layout(scenario)
    d = layout.client.vector.numel()
    by_value(sys.modules["__main__"])
    began = time.perf_counter()
    peaks: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as scratch:
        run = Path(scratch)
        with connect(None, object_store_bytes(scenario, 4 * d, options.shards), options.hosts + 1) as resources:
            wanted = Wanted(hosts=options.hosts, shards=options.shards)
            with RayEngine(scenario, lay_out(scenario, resources, wanted)) as engine:
                names = {pid: name for name, pid in engine.pids.items()} | {os.getpid(): "driver"}

                def look(_: object) -> None:
                    for pid, command in family(os.getpid()).items():
                        peaks[f"{names.get(pid, command)} ({pid})"] = peak_bytes(pid)

                with open_tables(run / "metrics") as tables:
                    start = Progress(layout.initial())
                    population = scenario.population.open()
                    simulate(scenario, population, engine, Output(tables, run / "checkpoints"), start, look)
        row = read_table(run / "metrics" / "rounds.arrow").to_pylist()[0]
        aggregation = read_table(run / "metrics" / "aggregation.arrow").to_pylist()[0]
        attacks = read_table(run / "metrics" / "attacks.arrow").to_pylist()
    print(
        f"n = {options.clients}, d = {d:,}: {4 * options.clients * d / 1e9:.2f} GB of updates, {options.shards} shards"
    )
    print(f"digest {layout.digest(start.state)}")
    print(f"round {row['wall_s']:.1f} s, {row['ray_calls']} Ray calls, in all {time.perf_counter() - began:.1f} s")
    print(f"{options.rule} {aggregation['seconds']:.2f} s, bias {aggregation['bias']:.6g}")
    for attack in attacks:
        print(f"{attack['attack']} {attack['seconds']:.2f} s, gamma {attack['gamma']}")
    for name, peak in sorted(peaks.items(), key=lambda item: -item[1])[: options.shards + options.hosts + 4]:
        print(f"  {name:<28} {peak / 2**30:6.2f} GiB")


if __name__ == "__main__":
    main()
