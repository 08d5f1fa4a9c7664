"""Which scenarios of a file become jobs, and which of them share rounds."""

from pathlib import Path

import pytest

from raysplit.errors import ScenarioError
from raysplit.runner import jobs_from

QUICKSTART = Path(__file__).parents[2] / "scenarios" / "quickstart.py"


def test_overrides_reach_only_the_scenarios_that_are_named(tmp_path):
    (job,) = jobs_from(QUICKSTART, tmp_path, ["training.rounds=2"], ["quickstart-clean"])
    assert job.scenario.training.rounds == 2
    with pytest.raises(ScenarioError, match="starts in round 13"):
        jobs_from(QUICKSTART, tmp_path, ["training.rounds=2"])


def test_an_attacked_scenario_forks_from_its_clean_twin_of_the_same_call(tmp_path):
    clean, attacked = jobs_from(QUICKSTART, tmp_path, [])
    assert attacked.fork == clean.folder and clean.keep == {12} and clean.fork is None
    (alone,) = jobs_from(QUICKSTART, tmp_path, [], ["quickstart-attacked"])
    assert alone.fork is None and alone.folder == attacked.folder
