"""Tables on a terminal that is narrower than they are."""

from __future__ import annotations

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table


def print_whole(table: Table, console: Console) -> None:
    """Print a table at its own width where ``console`` is narrower: its lines go on below, and names stay whole."""
    wide = Console(highlight=False, width=10_000)
    natural = Measurement.get(wide, wide.options, table).maximum
    Console(file=console.file, highlight=False, width=max(console.width, natural)).print(table, crop=False)
