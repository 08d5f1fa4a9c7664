"""CPU-seconds of attacks and aggregation rules on one thread, interleaved with ByzFL's where that is installed, and
their memory.

python tools/bench_aggregation.py [--clients 100] [--malicious 20] [--parameters 1000000] [--repeats 5] [--only TEXT]

``--only`` keeps the cases whose names contain a text; ``--memory`` measures the peak memory of each case in a process
of its own, as a multiple of the matrix of updates, which is counted in.
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
import subprocess
import sys
import time
import types
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch

from raysplit.aggregation.geometry import Geometry
from raysplit.aggregation.rule import AggregationRule, RoundContext
from raysplit.aggregation.rules.bulyan import Bulyan
from raysplit.aggregation.rules.centred_clipping import CentredClipping
from raysplit.aggregation.rules.composed import Composed
from raysplit.aggregation.rules.divide_and_conquer import DivideAndConquer
from raysplit.aggregation.rules.fltrust import FLTrust
from raysplit.aggregation.rules.fools_gold import FoolsGold
from raysplit.aggregation.rules.geometric_median import GeometricMedian
from raysplit.aggregation.rules.krum import Krum
from raysplit.aggregation.rules.mean import Mean
from raysplit.aggregation.rules.mean_around_median import MeanAroundMedian
from raysplit.aggregation.rules.median import Median
from raysplit.aggregation.rules.multi_krum import MultiKrum
from raysplit.aggregation.rules.nearest_neighbour_mixing import NearestNeighbourMixing
from raysplit.aggregation.rules.norm_clipping import NormClipping
from raysplit.aggregation.rules.trimmed_mean import TrimmedMean
from raysplit.aggregation.update_attack import UpdateAttack, UpdateView
from raysplit.attacks.updates.agr_tailored import AgrTailored
from raysplit.attacks.updates.fang import Fang
from raysplit.attacks.updates.fang_krum import FangKrum
from raysplit.attacks.updates.lie import LittleIsEnough
from raysplit.attacks.updates.min_max import MinMax
from raysplit.attacks.updates.min_sum import MinSum
from raysplit.attacks.updates.optimal_lie import OptimalLittleIsEnough


def byzfl_aggregators() -> types.ModuleType | None:
    """ByzFL's aggregators without its package __init__, which imports plotting libraries."""
    spec = importlib.util.find_spec("byzfl")
    if spec is None or spec.origin is None:
        return None
    package = types.ModuleType("byzfl")
    package.__path__ = [str(Path(spec.origin).parent)]
    sys.modules["byzfl"] = package
    return importlib.import_module("byzfl.aggregators.aggregators")


def selecting_rules() -> dict[str, AggregationRule]:
    """The rules that go by whole rows, which goal (c) asks for."""
    return {
        "Krum": Krum(),
        "Multi-Krum": MultiKrum(),
        "geometric median": GeometricMedian(),
        "NNM, mean": Composed((NearestNeighbourMixing(),), Mean()),
        "centred clipping": CentredClipping(),
        "norm clipping": NormClipping(),
        "DnC": DivideAndConquer(),
        "FoolsGold": FoolsGold(),
        "FLTrust": FLTrust(),
    }


def byzfl_rules(package: types.ModuleType, m: int) -> dict[str, Callable[[Any], object]]:
    """ByzFL's rules of the same name; those with other constants do the same work."""
    return {
        "byzfl TrMean": package.TrMean(f=m),
        "byzfl Median": package.Median(),
        "byzfl Krum": package.Krum(f=m),
        "byzfl Multi-Krum": package.MultiKrum(f=m),
        "byzfl geometric median (3 steps)": package.GeometricMedian(),
    }


def matrix_of(n: int, d: int) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(0)).add_(0.1)


def cases_of(n: int, m: int, d: int, updates: torch.Tensor) -> dict[str, Callable[[], object]]:
    """What is measured, by name. The rows of ``updates``, [n, d], are the malicious clients', then the benign ones'."""
    weights = torch.full((n,), 1.0 / n)
    reference = updates[m:].mean(0)
    context = RoundContext(1, np.arange(n), m, m, np.random.default_rng(0), reference=reference)

    def view(rule: AggregationRule) -> UpdateView:
        trim = m if isinstance(rule, TrimmedMean) else None
        return UpdateView(updates[m:], updates[:m], n, rule, trim, 1, np.random.default_rng(0))

    def together(attack: UpdateAttack, rule: AggregationRule) -> object:
        updates[:m] = attack.poison(view(rule)).rows
        return rule.aggregate(updates, weights, context)

    coordinate: dict[str, AggregationRule] = {
        "mean": Mean(),
        "trimmed mean": TrimmedMean(),
        "median": Median(),
        "median, midpoint": Median(even="midpoint"),
        "mean around median": MeanAroundMedian(),
    }
    rules = {**coordinate, **selecting_rules()}
    if n >= 4 * m + 3:
        rules["Bulyan"] = Bulyan()
    else:
        rules[f"Bulyan, f = {(n - 3) // 4}"] = Bulyan(f=(n - 3) // 4)

    def on_one_geometry(*chosen: AggregationRule) -> None:
        geometry = Geometry.of(updates)
        for rule in chosen:
            rule.over(geometry, weights, context)

    whole = selecting_rules()
    cases: dict[str, Callable[[], object]] = {}
    for name, rule in rules.items():
        cases[name] = partial(rule.aggregate, updates, weights, context)
    cases[f"the {len(whole)} rules by whole rows on one geometry"] = partial(on_one_geometry, *whole.values())
    histories = whole.pop("FoolsGold")
    cases[f"the {len(whole)} without {type(histories).__name__} on one geometry"] = partial(
        on_one_geometry, *whole.values()
    )
    attacks: dict[str, UpdateAttack] = {
        "LIE": LittleIsEnough(),
        "Min-Max": MinMax(),
        "Min-Sum": MinSum(),
        "Fang": Fang(),
    }
    for name, attack in attacks.items():
        cases[name] = partial(attack.poison, view(Mean()))
    cases["Fang on Krum"] = partial(FangKrum().poison, view(rules["Krum"]))
    tailored: dict[str, UpdateAttack] = {
        "AGR-tailored": AgrTailored(),
        "AGR-tailored, certify=False": AgrTailored(certify=False),
        "AGR-tailored, ndss21": AgrTailored(gamma="ndss21"),
    }
    for name, attack in tailored.items():
        for label in ("trimmed mean", "median"):
            cases[f"{name}, on {label}"] = partial(attack.poison, view(rules[label]))
    for name in ("AGR-tailored", "AGR-tailored, certify=False"):
        for label in ("trimmed mean", "median"):
            cases[f"{name}, and then {label}"] = partial(together, tailored[name], rules[label])
    for label in ("trimmed mean", "Multi-Krum"):
        simulating = OptimalLittleIsEnough(evaluations=5)
        cases[f"optimal LIE, 5 rehearsals of {label}"] = partial(simulating.poison, view(rules[label]))
    package = byzfl_aggregators()
    if package is not None:
        for name, byzfl_rule in byzfl_rules(package, m).items():
            cases[name] = partial(byzfl_rule, updates)
        for name in ("byzfl TrMean", "byzfl Median"):
            cases[f"{name}, numpy input"] = partial(byzfl_rules(package, m)[name], updates.numpy())
    return cases


def peak(name: str, n: int, m: int, d: int) -> float:
    """The peak memory of one case as a multiple of the matrix, less what a process of this kind needs for a small
    one."""
    size = n * d * 4

    def run(columns: int) -> int:
        command = [sys.executable, __file__, "--one", name, "--clients", str(n), "--malicious", str(m)]
        ran = subprocess.run([*command, "--parameters", str(columns)], capture_output=True, text=True, check=True)
        return int(ran.stdout) * 1024

    return (run(d) - run(1000)) / size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--malicious", type=int, default=20)
    parser.add_argument("--parameters", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", default="")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    n, m, d = options.clients, options.malicious, options.parameters
    torch.set_num_threads(1)
    updates = matrix_of(n, d if not options.memory else 1)
    cases = {name: case for name, case in cases_of(n, m, d, updates).items() if options.only in name}
    if options.one:
        cases[options.one]()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        return
    if options.memory:
        print(f"n = {n}, m = {m}, d = {d}: peak memory as a multiple of the matrix")
        for name in cases:
            print(f"  {name:<52} {peak(name, n, m, d):6.2f}", flush=True)
        return
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(options.repeats):  # interleaved, so that other load on the machine falls on all alike
        for name, case in cases.items():
            start = time.process_time()
            case()
            seconds[name].append(time.process_time() - start)
    print(f"n = {n}, m = {m}, d = {d}, float32, one thread, torch {torch.__version__}, numpy {np.__version__}")
    print(f"CPU-seconds, median of {options.repeats} (least)")
    for name, measured in seconds.items():
        print(f"  {name:<52} {statistics.median(measured):7.3f} ({min(measured):.3f})")
    together = [statistics.median(seconds[name]) for name in selecting_rules() if name in seconds]
    print(f"the {len(together)} rules by whole rows, each on its own: {sum(together):.2f} in all")


if __name__ == "__main__":
    main()
