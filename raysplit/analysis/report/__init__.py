"""Runs as a reader wants them: tables in the papers' layout, plots, one self-contained page."""

from raysplit.analysis.report.page import write_report
from raysplit.analysis.report.pairs import Trial, trials
from raysplit.analysis.report.tables import accuracy_table, to_markdown

__all__ = ["Trial", "accuracy_table", "to_markdown", "trials", "write_report"]
