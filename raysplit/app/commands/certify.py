"""The work behind ``raysplit certify``."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from raysplit.analysis.certification.certify import Certification, CertificationSetup, certify
from raysplit.analysis.certification.files import record_of, write_certification
from raysplit.analysis.certification.guarantee import PROTECTS
from raysplit.analysis.runs.run import open_run
from raysplit.analysis.runs.trained import read_trained
from raysplit.storage.run_folder import RunFolder
from raysplit.storage.stored_scenario import stored_scenario

_SHARES = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0)
"""Of the attack bound that the noise was made for, where no radii are asked for"""


def certify_run(path: Path, setup: CertificationSetup, radii: list[float] | None, as_json: bool) -> None:
    """Certify a run's predictions, print the accuracies and write everything into the run folder."""
    open_run(path)  # a sentence where it is none
    folder = RunFolder(path)
    trained = read_trained(path, stored_scenario(folder)[0])
    console = Console(stderr=as_json, highlight=False)
    with console.status(f"certifying {path.name}"):
        found = certify(trained, setup)
    chosen = sorted({0.0, *(radii or [share * found.model.bound for share in _SHARES])})
    written = write_certification(found, chosen, folder.certification)
    if as_json:
        print(json.dumps({**record_of(found, chosen), "path": str(written)}), flush=True)
        return
    for line in guarantee_lines(found):
        console.print(line, markup=False, soft_wrap=True)
    console.print(accuracy_table(found, chosen))
    console.print(str(written), markup=False, soft_wrap=True)


def guarantee_lines(found: Certification) -> list[str]:
    """What is guaranteed of what, in words."""
    model, setup = found.model, found.setup
    delta = f", δ {model.delta:g}" if model.mechanism == "gaussian" else ""
    scored = "votes, Clopper-Pearson" if setup.scored_by == "votes" else "mean softmax, Hoeffding"
    lines = [
        f"PixelDP: {model.mechanism} noise after {model.after or 'the input'}; ε {model.epsilon:g}{delta} at changes of "
        f"‖α‖_{model.norm} ≤ {model.bound:g}; sensitivity of the trained layers before it {found.sensitivity:.4g} (a bound)",
        f"this ε is about {PROTECTS}",
        f"{len(found.samples)} test samples, {setup.draws} draws each ({scored}), bounds that hold with "
        f"{100 * setup.confidence:g} % a sample; {found.seconds:.1f} s",
    ]
    if setup.attack is not None:
        lines.append(
            f"attacked at their certified radii by {setup.attack.steps} steps of PGD over {setup.attack.draws} draws: "
            f"{found.attacked} samples, of which {found.flipped} changed their prediction"
        )
    return lines


def accuracy_table(found: Certification, radii: list[float]) -> Table:
    """Accuracy, and the certified ones at each radius."""
    table = Table(f"radius (‖α‖_{found.norm:g})", "PixelDP, certified accuracy", "smoothing, certified accuracy")
    table.add_row("none: accuracy", f"{found.accuracy:.3f}", f"{found.accuracy:.3f}")
    for radius in radii:
        smoothing = (
            f"{found.certified_accuracy(radius, smoothing=True):.3f}" if found.model.mechanism == "gaussian" else "-"
        )
        table.add_row(f"{radius:.4g}", f"{found.certified_accuracy(radius):.3f}", smoothing)
    return table
