"""The work behind ``raysplit data histogram``: the populations of a scenario file, counted and drawn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from rich.console import Console

from raysplit.analysis.report.canvas import png
from raysplit.analysis.report.histogram import class_histogram
from raysplit.errors import RunError, ScenarioError
from raysplit.parts.canonical import to_json
from raysplit.population.opening import open_population
from raysplit.population.partition.histogram import SkewSummary, class_counts
from raysplit.population.population import PopulationSpec
from raysplit.scenario.choice import chosen
from raysplit.scenario.file import load_scenarios
from raysplit.scenario.sets import apply_sets
from raysplit.storage.atomic import write_bytes


def draw_histograms(
    file: Path, out: Path, sets: list[str], only: str | None, clients: int | None, console: Console
) -> None:
    """Print a summary of each different population of the file's scenarios, and draw it to ``out``, or ``out``
    numbered.

    ``clients``: look at so many, evenly spaced over the ids; None: all. Raises ``ScenarioError`` for an unknown
    scenario or impossible numbers, ``RunError`` where the picture cannot be written.
    """
    if out.suffix != ".png":
        raise ScenarioError(f"--out must name a .png file, but it is {str(out)!r}")
    if clients is not None and clients < 1:
        raise ScenarioError(f"--clients must be at least 1, but it is {clients}")
    populations = _populations(file, sets, only)
    for number, (name, spec) in enumerate(populations.items(), 1):
        population = open_population(spec)
        info = population.info
        ids = np.arange(info.clients)
        if clients is not None and clients < info.clients:
            ids = np.arange(clients) * info.clients // clients
        counts = class_counts(population, ids)
        part = "" if len(ids) == info.clients else f", {len(ids):,} of its {info.clients:,} clients"
        synthetic = "SYNTHETIC, not real data: " if info.synthetic else ""
        target = out if len(populations) == 1 else out.with_name(f"{out.stem}-{number}.png")
        figure = class_histogram(counts, f"{synthetic}{info.name}{part}")
        try:
            write_bytes(target, png(figure))
        except OSError as error:
            raise RunError(f"{target} cannot be written ({error.strerror}); choose another place with --out") from error
        console.print(f"{name}: {synthetic}{info.name}{part}", markup=False)
        console.print(f"  {SkewSummary.of(counts)}", markup=False)
        console.print(f"  {target.resolve()}", markup=False)


def _populations(file: Path, sets: list[str], only: str | None) -> dict[str, PopulationSpec]:
    """The different populations of a scenario file, each under the name of the first scenario that has it."""
    scenarios, module = load_scenarios(file)
    found: dict[str, PopulationSpec] = {}
    seen: set[str] = set()
    for scenario in chosen(scenarios, None if only is None else [only], file):
        spec = apply_sets(scenario, sets, module).population
        form = json.dumps(to_json(spec), sort_keys=True)
        if form not in seen:
            seen.add(form)
            found[scenario.name] = spec
    return found
