"""From public downloads to RaySplit's population files: one module a source, one a data set."""
