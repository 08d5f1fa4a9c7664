"""The work behind ``raysplit report``, and the end of ``run`` and ``resume``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from raysplit.analysis.report import accuracy_table, to_markdown, trials, write_report
from raysplit.analysis.report.canvas import png
from raysplit.analysis.report.plots import accuracy_over_rounds
from raysplit.analysis.runs.run import open_run
from raysplit.storage.atomic import write_bytes


def write_report_of(folders: list[Path], page: Path, say: Callable[[str], None]) -> None:
    """Write the page and the pictures of some runs, and say their table and the measured drops in accuracy."""
    opened = [open_run(folder) for folder in folders]
    found = trials(opened)
    written = write_report(opened, page)
    for index, trial in enumerate(found, 1):
        suffix = "" if len(found) == 1 else f"-{index}"
        write_bytes(written.with_name(f"{written.stem}-accuracy{suffix}.png"), png(accuracy_over_rounds(trial)))
    say("")
    say(to_markdown(accuracy_table(found, "final")))
    for trial in found:
        clean, attacked = trial.clean, trial.attacked
        if clean is not None and attacked is not None:
            before, after = clean.summary().final, attacked.summary().final
            if before is not None and after is not None:
                say(
                    f"Measured drop: {100 * (before - after):.1f} percentage points ({100 * before:.1f} % clean, "
                    f"{100 * after:.1f} % under attack)."
                )
    say(f"Report: {written.resolve()}")
