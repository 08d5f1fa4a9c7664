"""The work behind ``raysplit matrix``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console

from raysplit.analysis.matrix.honest_updates import HonestUpdates, recorded, synthetic
from raysplit.analysis.matrix.matrix import attack_matrix
from raysplit.analysis.matrix.parts import PackageName, all_parts, parts_named
from raysplit.analysis.report.matrix import matrix_tables, notes_of, write_matrix
from raysplit.errors import ScenarioError

_DEFAULT = "50,10,2000"


def show_matrix(
    updates: Path | None,
    round: int | None,
    made_up: str | None,
    attacks: str | None,
    rules: str | None,
    seed: int | None,
    out: Path,
    as_json: bool,
) -> None:
    """Play every attack against every rule, print the table and write it with its picture to ``out``."""
    honest = _honest_updates(updates, round, made_up, seed)
    malicious, missing = _parts(attacks, "attacks.updates", "--attacks")
    chosen, without = _parts(rules, "aggregation.rules", "--rules")
    console = Console(stderr=as_json, highlight=False)
    with console.status("attacks against rules") as status:
        matrix = attack_matrix(
            honest,
            malicious,
            chosen,
            (*missing, *without),
            lambda attack, rule: status.update(f"{attack} against {rule}"),
        )
    written = write_matrix(matrix, out)
    if as_json:
        print(json.dumps(matrix.to_json()), flush=True)
        return
    for table in matrix_tables(matrix, console.width):
        console.print(table)
    for line in notes_of(matrix):
        console.print(line, markup=False, soft_wrap=True)
    for path in written:
        console.print(str(path), markup=False, soft_wrap=True)


def _honest_updates(updates: Path | None, round: int | None, made_up: str | None, seed: int | None) -> HonestUpdates:
    if updates is not None:
        if made_up is not None or seed is not None:
            raise ScenarioError("--synthetic and --seed make updates up, so leave them out with --updates")
        return recorded(updates, round)
    if round is not None:
        raise ScenarioError("--round chooses among recorded rounds; give their run with --updates")
    try:
        n, m, d = (int(number) for number in (made_up or _DEFAULT).split(","))
    except ValueError:
        raise ScenarioError(
            f"--synthetic takes N,M,D, three whole numbers such as {_DEFAULT}, not {made_up!r}"
        ) from None
    return synthetic(n, m, d, 42 if seed is None else seed)


def _parts(text: str | None, package: PackageName, option: str) -> tuple[dict[str, Any], list[str]]:
    return all_parts(package) if text is None else (parts_named(text, package, option), [])
