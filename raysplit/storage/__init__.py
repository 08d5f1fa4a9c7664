"""What a run leaves behind: Arrow tables with units, written round by round, and how to read them."""

from raysplit.storage.run import Run, State, Summary, open_run
from raysplit.storage.tables import Tables, TableWriter, open_tables, read_table, rewind

__all__ = ["Run", "State", "Summary", "TableWriter", "Tables", "open_run", "open_tables", "read_table", "rewind"]
