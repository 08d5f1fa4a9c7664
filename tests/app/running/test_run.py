"""``raysplit.run``: a scenario built in Python, without a scenario file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import raysplit
from raysplit.app.running.engine_choice import EngineChoice
from raysplit.app.running.runner import Watch, resume
from raysplit.errors import RunError, ScenarioError
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.simulation.simulation import RoundReport
from tests.toys import play, toy

LOCAL = EngineChoice(engine="local")
TOY = toy(SplitFedV2(), training__rounds=4)


class Interrupter:
    """Hears of rounds, and presses Ctrl-C after one of them."""

    def __init__(self, after: int) -> None:
        self.after, self.heard = after, list[int]()

    def __call__(self, report: RoundReport) -> None:
        self.heard.append(report.round)
        if report.round == self.after:
            raise KeyboardInterrupt


def test_a_scenario_in_python_trains_the_model_that_it_trains_anywhere(tmp_path):
    heard: list[int] = []
    run = raysplit.run(TOY, out=tmp_path, on_round=lambda report: heard.append(report.round))
    assert run.state.status == "finished" and run.state.digest == play(TOY).digest
    assert heard == run.rounds.column("round").to_pylist() == [1, 2, 3, 4]
    assert run.path == tmp_path / f"toy-{TOY.hash}" and run.played == TOY


def test_its_folder_keeps_the_canonical_record_and_no_scenario_file(tmp_path):
    run = raysplit.run(TOY, out=str(tmp_path))
    assert json.loads((run.path / "scenario.json").read_text()) == TOY.to_json() == run.scenario
    assert not (run.path / "scenario.py").exists()


def test_after_ctrl_c_the_same_call_goes_on_and_ends_with_the_same_bits(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        raysplit.run(TOY, out=tmp_path, on_round=Interrupter(after=2))
    [folder] = tmp_path.iterdir()
    assert raysplit.open_run(folder).state.status == "interrupted"
    again = Interrupter(after=0)
    run = raysplit.run(TOY, out=tmp_path, on_round=again)
    assert again.heard == [3, 4]
    assert run.state.digest == play(TOY).digest
    assert run.rounds.column("round").to_pylist() == [1, 2, 3, 4]


def test_a_run_that_has_ended_is_returned_and_not_trained_again(tmp_path):
    first = raysplit.run(TOY, out=tmp_path)
    again = Interrupter(after=0)
    run = raysplit.run(TOY, out=tmp_path, on_round=again)
    assert again.heard == [] and run.state.digest == first.state.digest
    assert run.rounds.equals(first.rounds)


def test_overwrite_trains_it_again(tmp_path):
    raysplit.run(TOY, out=tmp_path)
    again = Interrupter(after=0)
    raysplit.run(TOY, out=tmp_path, on_round=again, overwrite=True)
    assert again.heard == [1, 2, 3, 4]


def test_the_command_line_cannot_resume_it_and_says_what_does(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        raysplit.run(TOY, out=tmp_path, on_round=Interrupter(after=2))
    [folder] = tmp_path.iterdir()
    with pytest.raises(RunError) as error:
        resume(folder, LOCAL, Watch())
    assert str(error.value) == (
        f"{folder} was started by raysplit.run and holds no scenario file; call raysplit.run with the same scenario "
        "again, which goes on where it stands"
    )


def test_what_cannot_be_run_leaves_no_folder(tmp_path):
    with pytest.raises(ScenarioError, match=r"takes one Scenario, but was given list; call it for each scenario"):
        raysplit.run([TOY], out=tmp_path)
    with pytest.raises(ScenarioError, match=r"belong to --engine ray"):
        raysplit.run(TOY, out=tmp_path, hosts=2)
    assert not list(tmp_path.iterdir())


def test_repr_says_how_the_run_ended_in_a_line(tmp_path):
    run = raysplit.run(TOY, out=tmp_path)
    accuracy = 100 * run.evaluations.column("accuracy").to_pylist()[-1]
    assert repr(run) == f"Run(toy: finished, 4 of 4 rounds, test accuracy {accuracy:.1f} %, {run.path})"
    with pytest.raises(KeyboardInterrupt):
        raysplit.run(TOY.replace(seed=1), out=tmp_path, on_round=Interrupter(after=1))
    [other] = set(tmp_path.iterdir()) - {run.path}
    assert "interrupted, 1 of 4 rounds" in repr(raysplit.open_run(other))


SCRIPT = """
import raysplit
from raysplit import Cohort, Evaluation, FedAvg, Scenario, Training, part, sequential, synthetic_writers
from raysplit.contracts import Aggregate, AggregationRule
from torch import nn

@part
class Half(AggregationRule):
    columnwise = True
    def aggregate(self, updates, weights, context):
        return Aggregate(0.5 * (weights @ updates))

scenario = Scenario(
    name="script",
    population=synthetic_writers(writers=4, mean_samples=5, sd_samples=1),
    model=raysplit.femnist_cnn(),
    protocol=FedAvg(),
    cohort=Cohort(size=2),
    training=Training(rounds=1, lr=0.1),
    defense=Half(),
    evaluation=Evaluation(clients=None),
)
run = raysplit.run(scenario, out="runs")
print(run, run.aggregation.column("rule").to_pylist(), run.evaluate().samples)
"""


def test_a_script_with_a_rule_of_its_own_needs_no_main_guard(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    answer = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env={"PATH": "", "PYTHONPATH": str(Path(raysplit.__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith("Run(script: finished, 1 of 1 round, test accuracy ")
    assert "['Half']" in answer.stdout
