"""Runs as a reader wants them: tables in the papers' layout, plots, one self-contained page."""

from raysplit.report.page import write_report
from raysplit.report.pairs import Trial, trials
from raysplit.report.tables import accuracy_table, to_markdown

__all__ = ["Trial", "accuracy_table", "to_markdown", "trials", "write_report"]
