"""Simulate split and federated learning, attacked and defended. A mistake is one sentence, exit code 2."""

from __future__ import annotations

import errno
import logging
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from raysplit.app.commands.analyses import analyses_app
from raysplit.app.commands.cluster_jobs import cluster_jobs_app
from raysplit.app.commands.data import data_app
from raysplit.app.commands.options import (
    Address,
    AsJson,
    Deadline,
    DryRun,
    EngineName,
    File,
    Gpus,
    Hosts,
    Jobs,
    KeepState,
    Only,
    Out,
    PlacementName,
    ReportOnly,
    Servers,
    Sets,
    Shards,
)
from raysplit.app.commands.removal import removal_app
from raysplit.app.running.interruption import (
    INTERRUPTED,
    Stopped,
    answer_signals,
    saying_how_to_go_on,
    saying_to_repeat,
)
from raysplit.errors import UserError

app = typer.Typer(help=__doc__, pretty_exceptions_enable=False)
app.add_typer(data_app, name="data")
app.add_typer(analyses_app)  # without a name: its commands stand beside the others
app.add_typer(cluster_jobs_app)
app.add_typer(removal_app)

FAILED = 3
"""Exit code of a sweep or frontier in which something failed; its report exists."""


@app.callback(invoke_without_command=True)
def _bare(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="RaySplit's version, and what it runs on.")] = False,
) -> None:
    if version:
        from raysplit.app.versions import versions

        typer.echo(versions())
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def run(
    file: File,
    out: Out = Path("runs"),
    sets: Sets = None,
    only: Only = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace runs that exist already.")] = False,
    engine: EngineName = "ray",
    hosts: Hosts = None,
    servers: Servers = None,
    placement: PlacementName = "auto",
    gpus_per_host: Gpus = None,
    address: Address = None,
    shards: Shards = 1,
    deadline: Deadline = None,
    keep_state: KeepState = False,
    as_json: AsJson = False,
) -> None:
    """Run every scenario of a file and write a report."""
    from raysplit.analysis.report.variant import report_name
    from raysplit.app.running.engine_choice import EngineChoice
    from raysplit.app.running.live import Live
    from raysplit.app.running.report import write_report_of
    from raysplit.app.running.runner import jobs_from, run_all

    chosen = jobs_from(file, out, sets or [], only, keep_state=keep_state)
    choice = EngineChoice(engine, hosts, servers, placement, gpus_per_host, address, shards, deadline)
    live = Live(as_json, len(chosen))
    folders = []
    with saying_how_to_go_on([job.folder for job in chosen], f"'raysplit sweep {file}'"):
        for ended in run_all(
            chosen, choice, lambda job: live.following(job.scenario), "replace" if overwrite else "refuse"
        ):
            live.ended(ended)
            folders.append(ended.folder.path)
    write_report_of(folders, out / f"report-{report_name(file, sets or [], only)}.html", live.say)


@app.command()
def sweep(
    file: File,
    out: Out = Path("runs"),
    sets: Sets = None,
    only: Only = None,
    jobs: Jobs = 1,
    dry_run: DryRun = False,
    report_only: ReportOnly = False,
    engine: EngineName = "ray",
    hosts: Hosts = None,
    servers: Servers = None,
    placement: PlacementName = "auto",
    gpus_per_host: Gpus = None,
    address: Address = None,
    deadline: Deadline = None,
    keep_state: KeepState = False,
) -> None:
    """Do what is left of a file's scenarios, whatever fails; one report, tables and plots over all."""
    from raysplit.app.running.engine_choice import EngineChoice
    from raysplit.app.sweep.command import Instead
    from raysplit.app.sweep.command import sweep as play

    choice = EngineChoice(engine, hosts, servers, placement, gpus_per_host, address, deadline=deadline)
    instead: Instead = "plan" if dry_run else "report" if report_only else None
    with saying_to_repeat("the same sweep"):
        failed = play(file, out, sets or [], only, choice, jobs, instead, keep_state)
    if failed:
        raise typer.Exit(FAILED)


@app.command()
def frontier(
    file: File,
    out: Out = Path("runs"),
    sets: Sets = None,
    only: Only = None,
    jobs: Jobs = 1,
    dry_run: DryRun = False,
    report_only: ReportOnly = False,
    x: Annotated[
        str | None,
        typer.Option("--x", help="The plot's x axis: ssim, identified, error, labels, drop, bytes, time, ..."),
    ] = None,
    y: Annotated[str | None, typer.Option("--y", help="The plot's y axis; default: accuracy.")] = None,
    front: Annotated[
        str | None,
        typer.Option("--front", help="What the Pareto front is over: accuracy,ssim,drop,bytes; default: x,y."),
    ] = None,
    engine: EngineName = "ray",
    hosts: Hosts = None,
    servers: Servers = None,
    placement: PlacementName = "auto",
    gpus_per_host: Gpus = None,
    address: Address = None,
    deadline: Deadline = None,
    keep_state: KeepState = False,
) -> None:
    """Cuts x defences of a file's Frontier: accuracy, what leaks, the drop under an attack, bytes; the Pareto front."""
    from raysplit.app.frontier.command import Asked
    from raysplit.app.frontier.command import frontier as play
    from raysplit.app.running.engine_choice import EngineChoice
    from raysplit.app.sweep.command import Instead

    choice = EngineChoice(engine, hosts, servers, placement, gpus_per_host, address, deadline=deadline)
    instead: Instead = "plan" if dry_run else "report" if report_only else None
    with saying_to_repeat("the same frontier"):
        failed = play(file, out, sets or [], only, choice, jobs, instead, keep_state, Asked(x, y, front))
    if failed:
        raise typer.Exit(FAILED)


@app.command()
def resume(
    folder: Annotated[Path, typer.Argument(help="The folder of an unfinished run; with --rounds of a finished one.")],
    rounds: Annotated[
        int | None,
        typer.Option(
            "--rounds", help="Go on with a finished run (of --keep-state) up to so many, in a folder of its own."
        ),
    ] = None,
    engine: EngineName = "ray",
    hosts: Hosts = None,
    servers: Servers = None,
    placement: PlacementName = "auto",
    gpus_per_host: Gpus = None,
    address: Address = None,
    shards: Shards = 1,
    deadline: Deadline = None,
    keep_state: KeepState = False,
    as_json: AsJson = False,
) -> None:
    """Go on with an unfinished run from its newest checkpoint; the result is the same bits as without the break."""
    from raysplit.app.running.engine_choice import EngineChoice
    from raysplit.app.running.live import Live
    from raysplit.app.running.more_rounds import job_with_more_rounds
    from raysplit.app.running.report import write_report_of
    from raysplit.app.running.runner import resume as resume_run
    from raysplit.app.running.runner import run as run_job
    from raysplit.storage.run_folder import RunFolder

    choice = EngineChoice(engine, hosts, servers, placement, gpus_per_host, address, shards, deadline)
    live = Live(as_json, 1)
    longer = None if rounds is None else job_with_more_rounds(RunFolder(folder), rounds, keep_state)
    goes_on = RunFolder(folder) if longer is None else longer.folder
    with saying_how_to_go_on([goes_on], ""), live.following(None) as watch:
        ended = resume_run(folder, choice, watch, keep_state) if longer is None else run_job(longer, choice, watch)
    live.ended(ended)
    write_report_of([ended.folder.path], goes_on.path / "report.html", live.say)
    if longer is not None:
        live.say(f"{folder} stays as it is; a run of other rounds has another hash, so its folder is {goes_on.path}")


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, clean and attacked.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="The page to write; default: report.html in the first run.")
    ] = None,
) -> None:
    """A table in the paper's layout (Acc, Acc under attack, Acc_drop), a PNG of accuracy over rounds, one page."""
    from raysplit.app.running.report import write_report_of

    console = Console(soft_wrap=True, highlight=False)
    write_report_of(runs, out or runs[0] / "report.html", lambda text: console.print(text, markup=False))


@app.command()
def doctor(
    file: Annotated[Path | None, typer.Argument(help="A scenario file to lay out on the cluster.")] = None,
    address: Address = None,
    hosts: Hosts = None,
    servers: Servers = None,
    placement: PlacementName = "auto",
    gpus_per_host: Gpus = None,
) -> None:
    """What the cluster has, and how a scenario would be laid out on it."""
    from raysplit.app.commands.doctor import examine

    examine(file, address, (hosts, servers, placement, gpus_per_host), Console())


_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})
"""What becomes of a disk under a running program; nobody's mistake in here."""


def main() -> None:
    """Entry point: maps errors to exit codes (2: the user's, 130: Ctrl-C, 1: ours, with a traceback)."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    answer_signals()
    try:
        code = app(standalone_mode=False)  # Typer hands an exit code back, also for a Ctrl-C that it caught
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        if code:
            sys.exit(code)
    except UserError as error:
        _stop(str(error), 2)
    except Stopped as stopped:
        sys.stderr.write(stopped.trace)
        _stop(str(stopped), stopped.code)
    except (KeyboardInterrupt, typer.Abort):
        _stop("interrupted", INTERRUPTED)
    except typer.Exit as leave:
        sys.exit(leave.exit_code)
    except OSError as error:
        if error.errno not in _DISK:
            raise
        _stop(
            f"{error.filename or 'a file'} cannot be written ({error.strerror}); free some space, then resume the run",
            2,
        )
    except Exception as error:
        usage = _usage(error)
        if usage is not None:
            _stop(usage, 2)
        trace = getattr(error, "trace", "")  # a client's failure brings its host's traceback along
        if not trace:
            raise
        sys.stderr.write(trace)
        _stop(str(error), 1)


def _usage(error: Exception) -> str | None:
    """The sentence of a command-line mistake that Typer found, or None."""
    form = getattr(error, "format_message", None)
    context = getattr(error, "ctx", None)
    if not callable(form):
        return None
    where = ""
    while context is not None and context.parent is not None:
        where, context = f" {context.info_name}{where}", context.parent
    sentence = form().rstrip(".")
    return f"{sentence}{'' if sentence.endswith('?') else '.'} See 'raysplit{where} --help'."


def _stop(sentence: str, code: int) -> None:
    Console(stderr=True, soft_wrap=True, highlight=False).print(f"raysplit: {' '.join(sentence.split())}", markup=False)
    sys.exit(code)


if __name__ == "__main__":
    main()
