"""``raysplit remove`` and ``raysplit clean``: they list what they would delete, ask, and delete nothing else."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from raysplit.errors import RunError

if TYPE_CHECKING:
    from raysplit.storage.removal import Leftover

removal_app = typer.Typer()
Yes = Annotated[bool, typer.Option("--yes", help="Delete without asking.")]


@removal_app.command()
def remove(
    runs: Annotated[list[Path], typer.Argument(help="Run folders to delete, whole.", metavar="RUN...")],
    yes: Yes = False,
) -> None:
    """Delete runs. Refused, before any is deleted, for what is no run folder or is being written."""
    from raysplit.storage.removal import run_to_remove

    _delete([run_to_remove(run) for run in dict.fromkeys(runs)], yes)


@removal_app.command()
def clean(
    folder: Annotated[Path, typer.Argument(help="A folder of runs.")] = Path("runs"),
    unfinished: Annotated[bool, typer.Option("--unfinished", help="Also runs that could be resumed.")] = False,
    state: Annotated[
        bool, typer.Option("--state", help="Also what finished runs keep beside their model and tables.")
    ] = False,
    yes: Yes = False,
) -> None:
    """Delete what killed processes have left: half-written files, and runs without a single round."""
    from raysplit.storage.removal import leftovers

    _delete(leftovers(folder, unfinished, state), yes)


def _delete(found: list[Leftover], yes: bool) -> None:
    from raysplit.storage.removal import delete

    console = Console(soft_wrap=True, highlight=False)
    if not found:
        console.print("Nothing to delete.")
        return
    for leftover in found:
        console.print(f"{leftover.path}  ({leftover.what}; {leftover.size / 1e6:.1f} MB)", markup=False)
    total = f"{sum(leftover.size for leftover in found) / 1e6:.1f} MB"
    if not yes and not sys.stdin.isatty():
        raise RunError("nothing was deleted, as nobody can be asked here; add --yes to delete what is listed")
    if not yes and not typer.confirm(f"Delete {'this' if len(found) == 1 else f'these {len(found)}'}, {total}?"):
        console.print("Nothing was deleted.")
        return
    for leftover in found:
        delete(leftover)
    console.print(f"Deleted, {total}.")
