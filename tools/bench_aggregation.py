"""CPU-seconds of attacks and aggregation rules on one thread, interleaved with ByzFL's where that is installed.

python tools/bench_aggregation.py [--clients 100] [--malicious 20] [--parameters 1000000] [--repeats 5]
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"  # before numpy and torch read it

import argparse
import importlib
import importlib.util
import resource
import statistics
import sys
import time
import types
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch

from raysplit.attacks.poisoning.agr_tailored import AgrTailored
from raysplit.attacks.poisoning.fang import Fang
from raysplit.attacks.poisoning.lie import LittleIsEnough
from raysplit.attacks.poisoning.min_max import MinMax
from raysplit.attacks.poisoning.min_sum import MinSum
from raysplit.attacks.poisoning.poisoning import UpdateAttack, UpdateView
from raysplit.defenses.aggregation.aggregation import AggregationRule, RoundContext
from raysplit.defenses.aggregation.mean import Mean
from raysplit.defenses.aggregation.median import Median
from raysplit.defenses.aggregation.trimmed_mean import TrimmedMean


def byzfl_aggregators() -> types.ModuleType | None:
    """ByzFL's aggregators without its package __init__, which imports plotting libraries."""
    spec = importlib.util.find_spec("byzfl")
    if spec is None or spec.origin is None:
        return None
    package = types.ModuleType("byzfl")
    package.__path__ = [str(Path(spec.origin).parent)]
    sys.modules["byzfl"] = package
    return importlib.import_module("byzfl.aggregators.aggregators")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--malicious", type=int, default=20)
    parser.add_argument("--parameters", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    n, m, d = options.clients, options.malicious, options.parameters
    torch.set_num_threads(1)
    updates = torch.randn(n, d, generator=torch.Generator().manual_seed(0)).add_(0.1)
    weights = torch.full((n,), 1.0 / n)
    context = RoundContext(1, np.arange(n), m, m, np.random.default_rng(0))

    def view(rule: AggregationRule) -> UpdateView:
        trim = m if isinstance(rule, TrimmedMean) else None
        return UpdateView(updates[m:], updates[:m], n, rule, trim, 1, np.random.default_rng(0))

    def together(attack: UpdateAttack, rule: AggregationRule) -> Callable[[], object]:
        received = updates.clone()

        def both() -> object:
            received[:m] = attack.poison(view(rule)).rows
            return rule.aggregate(received, weights, context)

        return both

    cases: dict[str, Callable[[], object]] = {}
    rules: dict[str, AggregationRule] = {
        "mean": Mean(),
        "trimmed mean": TrimmedMean(),
        "median": Median(),
        "median, midpoint": Median(even="midpoint"),
    }
    for name, rule in rules.items():
        cases[name] = partial(rule.aggregate, updates, weights, context)
    tailored = {
        "AGR-tailored": AgrTailored(),
        "AGR-tailored, certify=False": AgrTailored(certify=False),
        "AGR-tailored, ndss21": AgrTailored(gamma="ndss21"),
    }
    for name, attack in tailored.items():
        for label in ("trimmed mean", "median"):
            cases[f"{name}, on {label}"] = partial(attack.poison, view(rules[label]))
    for name in ("AGR-tailored", "AGR-tailored, certify=False"):
        for label in ("trimmed mean", "median"):
            cases[f"{name}, and then {label}"] = together(tailored[name], rules[label])
    others: dict[str, UpdateAttack] = {
        "LIE": LittleIsEnough(),
        "Min-Max": MinMax(),
        "Min-Sum": MinSum(),
        "Fang": Fang(),
    }
    for name, other in others.items():
        cases[name] = partial(other.poison, view(Mean()))
    byzfl = byzfl_aggregators()
    if byzfl is not None:
        for name, theirs in {"byzfl TrMean": byzfl.TrMean(f=m), "byzfl Median": byzfl.Median()}.items():
            cases[name] = partial(theirs, updates)
            cases[f"{name}, numpy input"] = partial(theirs, updates.numpy())

    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(options.repeats):  # interleaved, so that other load on the machine falls on all alike
        for name, case in cases.items():
            start = time.process_time()
            case()
            seconds[name].append(time.process_time() - start)
    print(f"n = {n}, m = {m}, d = {d}, float32, one thread, torch {torch.__version__}, numpy {np.__version__}")
    print(f"CPU-seconds, median of {options.repeats} (least)")
    for name, measured in seconds.items():
        print(f"  {name:<46} {statistics.median(measured):7.3f} ({min(measured):.3f})")
    print(f"peak memory of the process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
