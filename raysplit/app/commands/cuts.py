"""The work behind ``raysplit cuts``."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console

from raysplit.analysis.cuts.cuts import compare_cuts
from raysplit.analysis.report.cuts import cuts_table, surface_table, write_cuts
from raysplit.errors import ScenarioError, nearest
from raysplit.scenario.file import apply_sets, load_scenarios


def show_cuts(
    file: Path, only: str | None, train: int | None, out: Path | None, sets: list[str], as_json: bool
) -> None:
    """Compare the cuts of one scenario of ``file``, print the table and write it with its picture to ``out``."""
    scenarios, _ = load_scenarios(file)
    names = [scenario.name for scenario in scenarios]
    if only is not None and only not in names:
        raise ScenarioError(f"{file} has no scenario {only!r}; {nearest(only, names)}")
    scenario = apply_sets(scenarios[0 if only is None else names.index(only)], sets)
    console = Console(stderr=as_json, highlight=False)
    if only is None and len(names) > 1:
        console.print(f"{scenario.name}, the first of {len(names)} scenarios; choose another with --only", markup=False)
    with console.status("comparing cuts") as status:
        table = compare_cuts(scenario, train, lambda cut: status.update(f"cut after {cut}"))
    written = write_cuts(table, out or Path("runs") / f"cuts-{scenario.name}-{scenario.hash}")
    if as_json:
        print(json.dumps(table.to_json()), flush=True)
        return
    console.print(cuts_table(table))
    console.print(surface_table(table))
    for path in written:
        console.print(str(path), markup=False, soft_wrap=True)
