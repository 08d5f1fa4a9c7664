"""What is kept of an audit: ``audit.json``, all of it, and ``audit.arrow``, a row for every bound that was tried."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
from rich.table import Table

from raysplit.analysis.audit.audit import Audit
from raysplit.analysis.report.files import write_files

_COLUMNS = (
    ("score", pa.string(), "name", "by what canaries were told apart"),
    ("canaries", pa.int64(), "canary", "each in or out by a fair coin"),
    ("said_in", pa.int64(), "guess", "canaries with the highest scores, guessed to be in"),
    ("said_out", pa.int64(), "guess", "canaries with the lowest scores, guessed to be out"),
    ("correct", pa.int64(), "guess", "guesses that were right"),
    ("epsilon_lower", pa.float64(), "1", "every smaller ε is refuted, for one sample and this δ"),
    ("confidence", pa.float64(), "1", "of this bound alone; of all together: the audit's"),
    ("delta", pa.float64(), "1", "δ at which ε is bounded"),
    ("epsilon_claimed", pa.float64(), "1", "the accountant's upper bound, for one sample and this δ"),
)


def verdict(audit: Audit) -> str:
    """One sentence."""
    best, claimed = audit.best.epsilon, f"ε {audit.claimed:.4g}"
    shown = f"ε ≥ {best:.3g} at {audit.setup.confidence:.0%} confidence"
    if audit.refuted:
        return f"REFUTED: the training tells more than {claimed} allows ({shown})"
    if best == 0:
        return (
            f"nothing was found ({shown}), where a mechanism that is just as it claims would show {audit.expected:.3g}"
        )
    return f"consistent with {claimed}: {shown}, where a mechanism that is just as it claims would show {audit.expected:.3g}"


def record_of(audit: Audit) -> dict[str, Any]:
    """All of an audit, as JSON."""
    setup, best, ledger = audit.setup, audit.best, audit.spent.ledger
    return {
        "scenario": audit.scenario.name,
        "hash": audit.scenario.hash,
        "unit": "sample",
        "neighbours": ledger.neighbours,
        "sampling": ledger.sampling,
        "delta": audit.delta,
        "epsilon_claimed": audit.claimed,
        "claimed_by_scenario": audit.spent.claimed,
        "epsilon_lower": best.epsilon,
        "confidence": setup.confidence,
        "refuted": audit.refuted,
        "epsilon_expected": audit.expected,
        "epsilon_possible": audit.possible,
        "canaries": best.canaries,
        "canaries_per_client": setup.canaries,
        "kind": setup.kind,
        "rounds": audit.rounds,
        "sees": list(audit.sees),
        "seed": setup.seed,
        "verdict": verdict(audit),
        "bounds": [guesses._asdict() for guesses in audit.found],
    }


def write_audit(audit: Audit, folder: Path) -> list[Path]:
    """Raises ``RunError`` where ``folder`` cannot be written."""
    rows = [
        {
            **guesses._asdict(),
            "epsilon_lower": guesses.epsilon,
            "delta": audit.delta,
            "epsilon_claimed": audit.claimed,
        }
        for guesses in audit.found
    ]
    schema = pa.schema(
        [pa.field(name, kind, metadata={"unit": unit, "description": said}) for name, kind, unit, said in _COLUMNS]
    )
    table = pa.Table.from_pylist([{name: row[name] for name in schema.names} for row in rows], schema)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    text = json.dumps(record_of(audit), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    return write_files(folder, {"audit.arrow": sink.getvalue(), "audit.json": text.encode()})


def audit_table(audit: Audit) -> Table:
    """A row for every bound that was tried, and the claim below."""
    table = Table(
        "by",
        "in",
        "out",
        "right",
        "ε at least",
        "confidence",
        title=f"{audit.best.canaries} {audit.setup.kind} canaries",
    )
    for guesses in audit.found:
        right = f"{guesses.correct}/{guesses.made}"
        cells = (str(guesses.said_in), str(guesses.said_out), right, f"{guesses.epsilon:.3f}")
        table.add_row(guesses.score, *cells, f"{guesses.confidence:.1%}")
    table.add_section()
    table.add_row("the largest, all tried", "", "", "", f"{audit.best.epsilon:.3f}", f"{audit.setup.confidence:.0%}")
    table.add_row("ε claimed at most", "", "", "", f"{audit.claimed:.3f}", "")
    table.add_row("as claimed would show", "", "", "", f"{audit.expected:.3f}", "median")
    table.add_row("no more can be shown than", "", "", "", f"{audit.possible:.3f}", "")
    return table


def told(audit: Audit) -> list[str]:
    """What the numbers are of, in words."""
    ledger = audit.spent.ledger
    claims = "claimed" if audit.spent.claimed else "of the noise alone, not claimed by the scenario"
    return [
        f"{audit.scenario.name}, {audit.rounds} rounds: ε ≤ {audit.claimed:.4g} ({claims}), δ {audit.delta:g}, for one "
        f"sample; neighbours: {ledger.neighbours}; batches: {ledger.sampling}",
        f"reads {', '.join(audit.sees)}, as the fed server and the main server get them",
        verdict(audit),
    ]
