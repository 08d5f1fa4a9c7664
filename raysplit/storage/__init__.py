"""What a run leaves behind on disk: its folder, checkpoints, recorded updates and Arrow tables with units."""

from raysplit.storage.tables import Tables, TableWriter, open_tables, read_table, rewind

__all__ = ["TableWriter", "Tables", "open_tables", "read_table", "rewind"]
