"""The work behind ``raysplit audit``."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console

from raysplit.analysis.audit.audit import audit
from raysplit.analysis.audit.files import audit_table, record_of, told, write_audit
from raysplit.analysis.audit.setup import Setup
from raysplit.analysis.report.terminal import print_whole
from raysplit.scenario.choice import chosen
from raysplit.scenario.file import load_scenarios
from raysplit.scenario.sets import apply_sets


def show_audit(file: Path, only: str | None, setup: Setup, out: Path | None, sets: list[str], as_json: bool) -> None:
    """Audit one scenario of ``file``, print the bounds and write them to ``out``."""
    scenarios, module = load_scenarios(file)
    scenarios = chosen(scenarios, None if only is None else [only], file)
    scenario = apply_sets(scenarios[0], sets, module)
    console = Console(stderr=as_json, highlight=False)
    if len(scenarios) > 1:
        first = f"{scenario.name}, the first of {len(scenarios)} scenarios; choose another with --only"
        console.print(first, markup=False)
    with console.status(f"training {scenario.name} with canaries"):
        found = audit(scenario, setup)
    written = write_audit(found, out or Path("runs") / f"audit-{scenario.name}-{scenario.hash}-{setup.kind}")
    if as_json:
        print(json.dumps(record_of(found)), flush=True)
        return
    print_whole(audit_table(found), console)
    for line in told(found):
        console.print(line, markup=False, soft_wrap=True)
    for path in written:
        console.print(str(path), markup=False, soft_wrap=True)
