"""The command line: raysplit run | sweep | resume | report | remove | clean | cuts | matrix | model | doctor | data.
A mistake is one sentence, exit code 2."""

from __future__ import annotations

import errno
import logging
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from raysplit.app.commands.tidy import tidy_app
from raysplit.app.running.interruption import (
    INTERRUPTED,
    Stopped,
    answer_signals,
    saying_how_to_go_on,
    saying_to_repeat,
)
from raysplit.errors import UserError

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)
data_app = typer.Typer(no_args_is_help=True, help="Prepare and inspect populations.")
app.add_typer(data_app, name="data")
app.add_typer(tidy_app)  # without a name: remove and clean are commands beside the others

FAILED = 3
"""Exit code of a sweep in which some scenario failed; its report exists."""

File = Annotated[Path, typer.Argument(help="A scenario file, such as scenarios/quickstart.py.")]
Out = Annotated[Path, typer.Option("--out", help="Where run folders go.")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="Override a field: --set training.lr=0.01 (repeatable).")]
EngineName = Annotated[Literal["local", "ray"], typer.Option("--engine", help="One process, or Ray actors. Same bits.")]
Hosts = Annotated[int | None, typer.Option("--hosts", help="Client-host actors; default: what the cluster has.")]
Servers = Annotated[int | None, typer.Option("--servers", help="Main-server actors (SplitFedV1, pooled).")]
PlacementName = Annotated[
    Literal["auto", "pooled", "colocated"],
    typer.Option("--placement", help="Server portion in actors of its own, or beside the clients. Same bits."),
]
Gpus = Annotated[float | None, typer.Option("--gpus-per-host", help="Share of a GPU (and of its memory) a host.")]
Shards = Annotated[
    int, typer.Option("--shards", help="Column shards that aggregate updates; 1: the driver holds them. Same bits.")
]
Address = Annotated[str | None, typer.Option("--address", help="A running Ray cluster; 'auto' finds the local one.")]
KeepState = Annotated[
    bool, typer.Option("--keep-state", help="At the end keep optimiser states and the like, not the model alone.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a round on standard output, nothing else.")]


@app.command()
def run(
    file: File,
    out: Out = Path("runs"),
    sets: Sets = None,
    only: Annotated[list[str] | None, typer.Option("--only", help="Run just this scenario of the file.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace runs that exist already.")] = False,
    engine: EngineName = "ray",
    hosts: Hosts = None,
    servers: Servers = None,
    placement: PlacementName = "auto",
    gpus_per_host: Gpus = None,
    address: Address = None,
    shards: Shards = 1,
    keep_state: KeepState = False,
    as_json: AsJson = False,
) -> None:
    """Run every scenario of a file and write a report."""
    from raysplit.app.commands.report import write_report_of
    from raysplit.app.running.engine_choice import EngineChoice
    from raysplit.app.running.live import Live
    from raysplit.app.running.runner import jobs_from, run_all

    chosen = jobs_from(file, out, sets or [], only, keep_state=keep_state)
    choice = EngineChoice(engine, hosts, servers, placement, gpus_per_host, address, shards)
    live = Live(as_json, len(chosen))
    folders = []
    with saying_how_to_go_on([job.folder for job in chosen], f"'raysplit sweep {file}'"):
        for ended in run_all(
            chosen, choice, lambda job: live.following(job.scenario), "replace" if overwrite else "refuse"
        ):
            live.ended(ended)
            folders.append(ended.folder.path)
    write_report_of(folders, out / f"report-{file.stem}.html", live.say)


@app.command()
def sweep(
    file: File,
    out: Out = Path("runs"),
    sets: Sets = None,
    only: Annotated[list[str] | None, typer.Option("--only", help="Just this scenario (repeatable).")] = None,
    jobs: Annotated[
        int, typer.Option("--jobs", min=1, help="Scenarios side by side, with --engine local. Same bits.")
    ] = 1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List scenarios, rounds and what is shared; train nothing.")
    ] = False,
    report_only: Annotated[
        bool, typer.Option("--report-only", help="Train nothing; report on the runs that there are.")
    ] = False,
    engine: EngineName = "ray",
    hosts: Hosts = None,
    servers: Servers = None,
    placement: PlacementName = "auto",
    gpus_per_host: Gpus = None,
    address: Address = None,
    keep_state: KeepState = False,
) -> None:
    """Do what is left of a file's scenarios, going on after one that fails; one report, tables and plots over all of
    them."""
    from raysplit.app.running.engine_choice import EngineChoice
    from raysplit.app.sweep.command import Instead
    from raysplit.app.sweep.command import sweep as play

    choice = EngineChoice(engine, hosts, servers, placement, gpus_per_host, address)
    instead: Instead = "plan" if dry_run else "report" if report_only else None
    with saying_to_repeat("the same sweep"):
        failed = play(file, out, sets or [], only, choice, jobs, instead, keep_state)
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
    keep_state: KeepState = False,
    as_json: AsJson = False,
) -> None:
    """Go on with an unfinished run from its newest checkpoint; the result is the same bits as without the break."""
    from raysplit.app.commands.report import write_report_of
    from raysplit.app.running.engine_choice import EngineChoice
    from raysplit.app.running.live import Live
    from raysplit.app.running.more_rounds import job_with_more_rounds
    from raysplit.app.running.runner import resume as resume_run
    from raysplit.app.running.runner import run as run_job
    from raysplit.storage.run_folder import RunFolder

    choice = EngineChoice(engine, hosts, servers, placement, gpus_per_host, address, shards)
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
    from raysplit.app.commands.report import write_report_of

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
    from raysplit.app.doctor import examine

    examine(file, address, (hosts, servers, placement, gpus_per_host), Console())


@app.command()
def model(
    name: Annotated[str, typer.Argument(help="A model by its maker's name, such as femnist_cnn.")],
    cut: Annotated[str | None, typer.Option("--cut", help="A cut to mark: a paper's name or a stage's.")] = None,
    sets: Annotated[list[str] | None, typer.Option("--set", help="An argument: --set classes=7 (repeatable).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """A model's stages: sizes, FLOPs, what crosses the wire at each cut, and the client's share."""
    from raysplit.models.overview import model_named, show

    show(name, model_named(name, sets or [], cut), as_json)


@app.command()
def cuts(
    file: File,
    only: Annotated[str | None, typer.Option("--only", help="The scenario of the file; default: its first.")] = None,
    train: Annotated[int | None, typer.Option("--train", min=1, help="Rounds to train at every cut.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Where cuts.csv, cuts.json and cuts.png go.")] = None,
    sets: Sets = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="The table as JSON on standard output, nothing else.")
    ] = False,
) -> None:
    """Where should I cut? Every cut of a scenario's model: shares, bytes, FLOPs, time and, with --train, accuracy."""
    from raysplit.app.commands.cuts import show_cuts

    show_cuts(file, only, train, out, sets or [], as_json)


@app.command()
def matrix(
    updates: Annotated[
        Path | None, typer.Option("--updates", help="A recorded round's file, or a run folder that has some.")
    ] = None,
    round: Annotated[
        int | None, typer.Option("--round", help="Which of the run's rounds; default: the newest.")
    ] = None,
    synthetic: Annotated[
        str | None, typer.Option("--synthetic", help="N,M,D: made-up updates, clients, malicious, floats.")
    ] = None,
    attacks: Annotated[
        str | None, typer.Option("--attacks", help="Such as 'MinMax, LittleIsEnough(z=1.5)'; default: all.")
    ] = None,
    rules: Annotated[
        str | None, typer.Option("--rules", help="Such as 'Krum, TrimmedMean(f=2)'; default: all.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of the made-up updates; default: 42.")] = None,
    out: Annotated[Path, typer.Option("--out", help="Where matrix.csv, .json and .png go.")] = Path("runs/matrix"),
    as_json: Annotated[
        bool, typer.Option("--json", help="The table as JSON on standard output, nothing else.")
    ] = False,
) -> None:
    """Attacks against rules on one matrix of updates, recorded or made up, without training: bias, cosine, who gets
    in."""
    from raysplit.app.commands.matrix import show_matrix

    show_matrix(updates, round, synthetic, attacks, rules, seed, out, as_json)


@data_app.command("prepare")
def data_prepare(
    data_set: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="femnist, mnist, fashion_mnist, cifar10, ham10000, tudataset, att_faces, shakespeare, sent140, image_folder "
            "or table.",
        ),
    ],
    source: Annotated[
        Path | None, typer.Option("--from", help="The folder (of a table: the file) that is already on disk.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The population file to write; default: where the scenario looks.")
    ] = None,
    mirror: Annotated[str | None, typer.Option("--mirror", help="Another place to download from.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="Which of the graph data sets: MUTAG, NCI1, ...")] = None,
    size: Annotated[int | None, typer.Option("--size", help="Resize pictures to that side, in pixels.")] = None,
    grey: Annotated[bool, typer.Option("--grey", help="Pictures in one channel.")] = False,
    by_client: Annotated[bool, typer.Option("--by-client", help="Folders of clients above those of classes.")] = False,
    pool: Annotated[bool, typer.Option("--pool", help="One client that owns everything, to be partitioned.")] = False,
    label: Annotated[str | None, typer.Option("--label", help="The table's column of classes.")] = None,
    client: Annotated[
        str | None, typer.Option("--client", help="The table's column that says whose row it is.")
    ] = None,
    features: Annotated[
        list[str] | None, typer.Option("--feature", help="A column of numbers (repeatable); default: all others.")
    ] = None,
    standardise: Annotated[bool, typer.Option("--standardise", help="Columns to mean 0 and sd 1 in training.")] = False,
    delimiter: Annotated[str | None, typer.Option("--delimiter", help="Between a CSV's cells; 'tab' is one.")] = None,
    decimal: Annotated[str | None, typer.Option("--decimal", help="In a CSV's numbers: '.' or ','.")] = None,
    encoding: Annotated[
        str | None, typer.Option("--encoding", help="Of a CSV, such as cp1252; default: utf-8.")
    ] = None,
    words: Annotated[int | None, typer.Option("--words", help="Words that have a number of their own.")] = None,
    vectors: Annotated[
        Path | None, typer.Option("--vectors", help="A file of word vectors (GloVe), whose words are numbered.")
    ] = None,
    characters: Annotated[bool, typer.Option("--characters", help="Number characters, not words.")] = False,
    by: Annotated[str | None, typer.Option("--by", help="Split the samples of each client, or clients: user.")] = None,
    least: Annotated[int | None, typer.Option("--least", help="Leave clients of fewer samples out.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of the split, where there is no official one.")] = None,
) -> None:
    """Download, verify and convert a data set into a population (docs/data-sets.md)."""
    options = dict(locals())
    from raysplit.app.doctor import prepare

    for argument in ("data_set", "source", "out", "mirror"):
        del options[argument]
    given = {name: value for name, value in options.items() if value is not None and value is not False and value != []}
    prepare(data_set, source, out, mirror, Console(), given)


@data_app.command("info")
def data_info(
    path: Annotated[Path, typer.Argument(help="A population file, or the name it was prepared under.")],
) -> None:
    """What a population holds, every byte checked: clients, samples, classes (FEMNIST's beside the paper's figures)."""
    from raysplit.app.doctor import describe

    describe(path, Console())


@data_app.command("histogram")
def data_histogram(
    file: File,
    out: Annotated[Path, typer.Option("--out", help="The picture to write, NAME.png.")] = Path("histogram.png"),
    sets: Sets = None,
    only: Annotated[str | None, typer.Option("--only", help="The population of this scenario of the file.")] = None,
    clients: Annotated[
        int | None, typer.Option("--clients", help="Look at so many clients, evenly spaced; default: all.")
    ] = None,
) -> None:
    """Which classes and how many samples the clients of a scenario hold: a summary and a picture."""
    from raysplit.app.commands.histogram import draw_histograms

    draw_histograms(file, out, sets or [], only, clients, Console(soft_wrap=True, highlight=False))


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
    return f"{form().rstrip('.')}. See 'raysplit --help'." if callable(form) else None


def _stop(sentence: str, code: int) -> None:
    Console(stderr=True, soft_wrap=True, highlight=False).print(f"raysplit: {' '.join(sentence.split())}", markup=False)
    sys.exit(code)


if __name__ == "__main__":
    main()
