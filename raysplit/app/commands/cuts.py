"""The work behind ``raysplit cuts``."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console

from raysplit.analysis.cuts.cuts import compare_cuts
from raysplit.analysis.report.cuts import cuts_table, surface_table, write_cuts
from raysplit.analysis.report.terminal import print_whole
from raysplit.app.commands.infer import attacks_named
from raysplit.scenario.choice import chosen
from raysplit.scenario.file import load_scenarios
from raysplit.scenario.sets import apply_sets


def show_cuts(
    file: Path,
    only: str | None,
    train: int | None,
    leakage: str | None,
    out: Path | None,
    sets: list[str],
    as_json: bool,
) -> None:
    """Compare the cuts of one scenario of ``file``, print the table and write it with its picture to ``out``."""
    scenarios, module = load_scenarios(file)
    scenarios = chosen(scenarios, None if only is None else [only], file)
    scenario = apply_sets(scenarios[0], sets, module)
    attack = None if leakage is None else next(iter(attacks_named(leakage, "--leakage")))
    console = Console(stderr=as_json, highlight=False)
    if len(scenarios) > 1:
        told = f"{scenario.name}, the first of {len(scenarios)} scenarios; choose another with --only"
        console.print(told, markup=False)
    with console.status("comparing cuts") as status:
        table = compare_cuts(scenario, train, lambda cut: status.update(f"cut after {cut}"), attack)
    written = write_cuts(table, out or Path("runs") / f"cuts-{scenario.name}-{scenario.hash}")
    if as_json:
        print(json.dumps(table.to_json()), flush=True)
        return
    print_whole(cuts_table(table), console)
    print_whole(surface_table(table), console)
    for path in written:
        console.print(str(path), markup=False, soft_wrap=True)
