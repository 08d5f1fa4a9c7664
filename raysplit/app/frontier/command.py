"""The work behind ``raysplit frontier``."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from raysplit.analysis.frontier.leakage import Leak, check_attacks, known_leak, refused_attacks
from raysplit.analysis.frontier.measured import Measured, measured, outcome
from raysplit.analysis.report.frontier import axes_of
from raysplit.analysis.report.frontier_page import write_frontier
from raysplit.analysis.report.frontier_terminal import frontier_table, notes
from raysplit.analysis.report.variant import report_name
from raysplit.app.frontier.leaks import Task, found_by
from raysplit.app.running.engine_choice import EngineChoice
from raysplit.app.running.runner import Failed, Job, check_job
from raysplit.app.sweep.command import Instead, check_processes, play_jobs, say_failed, show_plan
from raysplit.app.sweep.live import SweepLive
from raysplit.app.sweep.plan import ended_runs, plan, summary
from raysplit.app.sweep.side_by_side import Origin
from raysplit.app.sweep.traces import TRACES, with_trace_kept
from raysplit.errors import UserError, counted
from raysplit.scenario.choice import chosen
from raysplit.scenario.file import load_frontier
from raysplit.scenario.frontier import Frontier, Point, check_rows


@dataclass(frozen=True)
class Asked:
    """What the command line says of the comparison, by names of measures; None: as usual."""

    x: str | None = None
    y: str | None = None
    front: str | None = None


def frontier(
    file: Path,
    out: Path,
    sets: list[str],
    only: list[str] | None,
    choice: EngineChoice,
    processes: int = 1,
    instead: Instead = None,
    keep_state: bool = False,
    asked: Asked = Asked(),
) -> int:
    """Train, attack and compare what is left of a file's frontier; returns how many trainings and inferences failed."""
    check_processes(processes, choice)
    axes_of([], asked.x, asked.y, asked.front)  # a name that is none is said before anything is trained
    spec = load_frontier(file)
    points = chosen(spec.points, only, file)
    check_rows([(point.cut, point.defense, point.why) for point in points])
    names = [one.name for point in points for one in (point.clean, point.attacked) if one is not None]
    origin = Origin(file, out, sets, names, ended_runs(out), keep_state)
    jobs = {str(job.origin["scenario"]): job for job in origin.jobs()}
    refused = _refused(points, jobs)
    trained = {name: job for name, job in jobs.items() if name not in refused}
    cannot = {p.name: refused_attacks(spec, trained[p.name].scenario) for p in points if p.name in trained}
    check_attacks(spec, cannot)
    steps = plan(list(trained.values()))
    left = [step.job for step in steps if not step.ended]
    name = report_name(file, sets, only)
    live, folder = SweepLive(len(left)), out / f"frontier-{name}"
    holes = sum(point.name not in trained for point in points)
    if holes:
        live.say(f"{counted(holes, 'point')} of {len(points)} cannot be: the defence is refused at the cut")
    if instead == "plan":
        show_plan(steps, choice, processes, live)
        live.say(f"Inference attacks besides: {len(spec.attacks)} on each of {counted(len(cannot), 'point')}")
        return 0
    live.say(summary(steps))
    failed = {} if instead == "report" else play_jobs(origin, left, choice, processes, live, folder)
    say_failed(list(trained.values()), failed, live)
    leaks, broken = _leaks(file, spec, points, trained, cannot, folder, live, 0 if instead == "report" else processes)
    found = [
        _measured(point, jobs, refused, failed, [here[name] for name in spec.attacks if name in here])
        for point in points
        for here in (leaks.get(point.name, {}),)
    ]
    axes = axes_of(found, asked.x, asked.y, asked.front)
    written = write_frontier(name, spec, found, axes, folder)
    live.say("")
    live.show(frontier_table(found, axes))
    for note in notes(found, axes):
        live.say(note)
    live.say(f"Report: {written.resolve()}")
    return len(failed) + broken


def _refused(points: list[Point], jobs: Mapping[str, Job]) -> dict[str, str]:
    """Scenarios that cannot be trained as they are, found before any is: name → sentence. Raises ``ScenarioError`` where
    that leaves a cut or a defence nothing."""
    refused: dict[str, str] = {}
    for name, job in jobs.items():
        try:
            check_job(job, 1, "continue")
        except UserError as error:
            refused[name] = str(error)
    check_rows([(point.cut, point.defense, point.why or refused.get(point.name, "")) for point in points])
    for point in points:
        if point.name in refused and point.attacked is not None:
            refused.setdefault(point.attacked.name, refused[point.name])
    return refused


def _leaks(
    file: Path,
    spec: Frontier,
    points: list[Point],
    jobs: Mapping[str, Job],
    cannot: Mapping[str, Mapping[str, str]],
    folder: Path,
    live: SweepLive,
    processes: int,
) -> tuple[dict[str, dict[str, Leak]], int]:
    """What each attack finds at each point whose clean run has finished, by name of the point and of the attack, and how
    many attacks failed. ``processes`` 0: only what was found before."""
    leaks: dict[str, dict[str, Leak]] = {}
    tasks = []
    for point in points:
        job = jobs.get(point.name)
        if job is None or job.folder.state().get("status") != "finished":
            continue
        here = leaks.setdefault(point.name, {})
        for attack in spec.attacks:
            if attack in cannot[point.name]:
                here[attack] = Leak(attack, {}, "", cannot[point.name][attack])
            elif (known := known_leak(spec, attack, job.scenario, job.folder.path)) is not None:
                here[attack] = known
            else:
                tasks.append(Task(job, attack))
    if not processes:
        return leaks, 0
    began, failed = time.monotonic(), 0
    if tasks:
        live.say(f"{counted(len(tasks), 'inference attack')} to carry out")
    for number, (task, found) in enumerate(found_by(file, spec, tasks, processes), 1):
        name = str(task.job.origin["scenario"])
        if isinstance(found, Failed):
            failed += 1
            kept = with_trace_kept(found, folder / TRACES / f"{name}-{task.attack}.txt")
            assert isinstance(kept, Failed)
            leaks[name][task.attack] = Leak(task.attack, {}, "", kept.why)
            text = f"failed: {kept.why}"
        else:
            leaks[name][task.attack] = found
            text = ", ".join(
                f"{metric} {found.score(metric):.2f}" for metric in _SAID if found.score(metric) is not None
            )
        minutes = (time.monotonic() - began) / 60
        live.say(f"[{number}/{len(tasks)}] {minutes:.1f} min  {name}, {task.attack}: {text}")
    return leaks, failed


_SAID = ("SSIM", "identified", "labels right", "labels right, best naming", "leak AUC", "AUC")


def _measured(
    point: Point,
    jobs: Mapping[str, Job],
    refused: Mapping[str, str],
    failed: Mapping[Path, str],
    leaks: Sequence[Leak],
) -> Measured:
    runs = []
    for scenario, why in ((point.clean, point.why), (point.attacked, point.why_attacked)):
        name = None if scenario is None else scenario.name
        said = why or refused.get(name or "", "")
        folder = None if name is None else jobs[name].folder.path
        runs.append(outcome(folder, said or failed.get(folder or Path(), ""), refused=bool(said)))
    clean, attacked = runs
    return measured(point, clean, attacked, leaks)
