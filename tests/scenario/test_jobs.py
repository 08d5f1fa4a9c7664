"""Which scenarios of a file become jobs, and which of them share rounds."""

from dataclasses import replace
from pathlib import Path

import pytest

from raysplit.app.running.engine_choice import EngineChoice
from raysplit.app.running.runner import Fork, jobs_from, run_all
from raysplit.errors import ScenarioError
from raysplit.population.selection.cohort import Cohort

QUICKSTART = Path(__file__).parents[2] / "scenarios" / "quickstart.py"


def test_overrides_reach_only_the_scenarios_that_are_named(tmp_path):
    (job,) = jobs_from(QUICKSTART, tmp_path, ["training.rounds=2"], ["quickstart-clean"])
    assert job.scenario.training.rounds == 2
    with pytest.raises(ScenarioError, match="starts in round 13"):
        jobs_from(QUICKSTART, tmp_path, ["training.rounds=2"])


def test_an_attacked_scenario_forks_from_its_clean_twin_of_the_same_call(tmp_path):
    clean, attacked = jobs_from(QUICKSTART, tmp_path, [])
    assert attacked.forks == (Fork(clean.folder, 12),) and clean.keep == {12} and clean.forks == ()
    (alone,) = jobs_from(QUICKSTART, tmp_path, [], ["quickstart-attacked"])
    assert alone.forks == () and alone.folder == attacked.folder


def test_a_mistake_in_a_later_scenario_is_said_before_the_first_one_trains(tmp_path):
    clean, attacked = jobs_from(QUICKSTART, tmp_path / "runs", [])
    too_large = replace(attacked, scenario=attacked.scenario.replace(cohort=Cohort(4000, malicious=0.2)))
    with pytest.raises(ScenarioError, match=r"Cohort.size is 4000, but the population"):
        list(run_all([clean, too_large], EngineChoice("local"), lambda job: pytest.fail("a job was begun")))
    assert not (tmp_path / "runs").exists()
