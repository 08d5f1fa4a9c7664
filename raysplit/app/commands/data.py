"""``raysplit data``: prepare populations, and look into them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from raysplit.app.commands.options import File, Sets

data_app = typer.Typer(help="Prepare and inspect populations.")


@data_app.callback(invoke_without_command=True)
def _bare_data(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@data_app.command("prepare")
def data_prepare(
    data_set: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="femnist, mnist, fashion_mnist, emnist, cifar10, ham10000, tudataset, att_faces, shakespeare, sent140, "
            "image_folder or table.",
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
    split: Annotated[str | None, typer.Option("--split", help="Which of EMNIST's: balanced, letters, ...")] = None,
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
    from data_prep.catalogue import prepare

    for argument in ("data_set", "source", "out", "mirror"):
        del options[argument]
    given = {name: value for name, value in options.items() if value is not None and value is not False and value != []}
    prepare(data_set, source, out, mirror, Console(), given)


@data_app.command("info")
def data_info(
    path: Annotated[Path, typer.Argument(help="A population file, or the name it was prepared under.")],
) -> None:
    """What a population holds, every byte checked: clients, samples, classes (FEMNIST's beside the paper's figures)."""
    from data_prep.catalogue import find
    from data_prep.femnist import describe as femnist_summary
    from data_prep.prepared import describe as summary
    from raysplit.population.arrow import ArrowFile

    path = find(path)
    describe = femnist_summary if ArrowFile(str(path)).open().info.name == "femnist" else summary
    Console().print(str(describe(path)), markup=False, highlight=False, soft_wrap=True)


@data_app.command("histogram")
def data_histogram(
    file: File,
    out: Annotated[Path, typer.Option("--out", help="The picture to write, NAME.png.")] = Path("histogram.png"),
    sets: Sets = None,
    only: Annotated[
        str | None, typer.Option("--only", help="Populations of scenarios of this name or pattern.")
    ] = None,
    clients: Annotated[
        int | None, typer.Option("--clients", help="Look at so many clients, evenly spaced; default: all.")
    ] = None,
) -> None:
    """Which classes and how many samples the clients of a scenario hold: a summary and a picture."""
    from raysplit.app.commands.histogram import draw_histograms

    draw_histograms(file, out, sets or [], only, clients, Console(soft_wrap=True, highlight=False))
