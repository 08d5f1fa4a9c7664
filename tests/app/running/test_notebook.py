"""Cells of a notebook, as IPython executes them: in ``__main__``, which has no file, with their lines in linecache."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import raysplit

CELLS = '''
import linecache, sys

module = sys.modules["__main__"]
del module.__file__
SETUP = """
import raysplit
from raysplit import Cohort, Evaluation, FedAvg, Scenario, Training, part, synthetic_writers
from raysplit.contracts import Aggregate, AggregationRule
"""
RULE = """
@part
class Scaled(AggregationRule):
    factor: float = 0.5

    @property
    def columnwise(self):
        return True

    def aggregate(self, updates, weights, context):
        return Aggregate(FACTOR * (weights @ updates))
"""
RUN = """
scenario = Scenario(
    name="cells",
    population=synthetic_writers(writers=4, mean_samples=5, sd_samples=1),
    model=raysplit.femnist_cnn(),
    protocol=FedAvg(),
    cohort=Cohort(size=2),
    training=Training(rounds=2, lr=0.1),
    defense=Scaled(),
    evaluation=Evaluation(clients=None),
)
def stop(report):
    raise KeyboardInterrupt
print(scenario.hash)
try:
    raysplit.run(scenario, on_round=stop)
except KeyboardInterrupt:
    print("interrupted")
rounds = []
run = raysplit.run(scenario, on_round=lambda report: rounds.append(report.round))
print(rounds, run.state.status)
"""
for number, cell in enumerate([SETUP, RULE.replace("FACTOR", "0.5"), RUN, RULE.replace("FACTOR", "0.25"), RUN]):
    name = f"/tmp/ipykernel_1/{number}.py"
    linecache.cache[name] = (len(cell), None, cell.splitlines(keepends=True), name)
    exec(compile(cell, name, "exec"), module.__dict__)
'''


def test_a_rule_in_a_cell_runs_and_resumes_and_is_another_scenario_once_it_is_edited(tmp_path: Path) -> None:
    (tmp_path / "cells.py").write_text(CELLS)
    answer = subprocess.run(
        [sys.executable, "cells.py"],
        cwd=tmp_path,
        env={"PATH": "", "PYTHONPATH": str(Path(raysplit.__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr
    first, *heard, second, interrupted, ended = answer.stdout.splitlines()
    assert heard == [interrupted, ended] == ["interrupted", "[2] finished"]
    assert first != second
