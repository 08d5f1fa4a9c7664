"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

File = Annotated[Path, typer.Argument(help="A scenario file, such as scenarios/quickstart.py.")]
Out = Annotated[Path, typer.Option("--out", help="Where run folders go.")]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="Override a field: training.lr=0.01, 'attack=SignFlip(scale=10.0)' (repeatable, in any order)."
    ),
]
Only = Annotated[
    list[str] | None, typer.Option("--only", help="Just scenarios of this name, or pattern: '*-clean' (repeatable).")
]
OnlyOne = Annotated[
    str | None, typer.Option("--only", help="The scenario of the file, by name or pattern; default: its first.")
]
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
Deadline = Annotated[
    float | None,
    typer.Option(
        "--deadline",
        help="Seconds within which a call on Ray must end or get on; who hangs is replaced. Default: measured. Same bits.",
    ),
]
KeepState = Annotated[
    bool, typer.Option("--keep-state", help="At the end keep optimiser states and the like, not the model alone.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a round on standard output, nothing else.")]
Jobs = Annotated[int, typer.Option("--jobs", min=1, help="Scenarios side by side, with --engine local. Same bits.")]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="List what is to be trained, what is shared and the time it may take; train nothing."
    ),
]
ReportOnly = Annotated[bool, typer.Option("--report-only", help="Train nothing; report on the runs that there are.")]
