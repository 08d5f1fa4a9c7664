"""What a run has spent of its clients' privacy, with all that an ε is an ε of."""

from __future__ import annotations

import statistics

from raysplit.analysis.report.markup import definitions, paragraph
from raysplit.analysis.report.numbers import count, significant
from raysplit.analysis.runs.run import Run

_NOT_COVERED = {
    "sample": "smashed data, cut gradients, labels, what is in these tables",
    "client": "updates as the fed server gets them, smashed data, cut gradients, labels, what is in these tables",
}


def privacy_section(run: Run) -> str:
    """HTML; empty where nobody clipped."""
    newest = {row["client"]: row for row in run.privacy.to_pylist()}  # rows are in the order of rounds
    if not newest:
        return ""
    rows = list(newest.values())
    found = [row["nominal_epsilon"] for row in rows]
    worst = max(rows, key=lambda row: row["nominal_epsilon"])
    claimed = worst["epsilon"] is not None
    spread = f"{significant(max(found))} at most, {significant(statistics.median(found))} in the median"
    facts = [
        ("ε" if claimed else "ε of the noise alone", f"{spread} of {count(len(found))} clients that trained"),
        ("δ", f"{worst['delta']:g}"),
        ("Unit", worst["unit"]),
        ("Neighbours", worst["neighbours"]),
        ("Sampling", f"{worst['sampling']}; {count(worst['applications'])} applications to a {worst['unit']} at most"),
        ("Covers", worst["covers"]),
        ("Against", worst["adversary"]),
        ("Not covered", _NOT_COVERED[worst["unit"]]),
        ("Accountant", f"{worst['accountant']}, order {count(worst['order'])}"),
    ]
    note = "" if claimed else paragraph("No guarantee is claimed: what the noise is on is not all that tells.", "note")
    return "<h3>Privacy</h3>\n" + definitions(facts) + note
