"""The scenarios on LEAF's texts can be built, and the small ones run."""

from pathlib import Path

import pytest

from raysplit.app.running.runner import jobs_from
from raysplit.population.partition.by_user import ByUser
from raysplit.population.text.synthetic import synthetic_roles
from raysplit.scenario.scenario import Evaluation
from tests.toys import play

LEAF = Path(__file__).resolve().parents[2] / "scenarios" / "leaf"


def test_leafs_own_sizes_are_scenarios_for_every_protocol(tmp_path):
    names = [job.scenario.name for job in jobs_from(LEAF / "leaf.py", tmp_path, [])]
    sets, protocols = ("shakespeare", "sent140"), ("fl", "sl", "sflv1", "sflv2")
    assert names == [f"leaf-{name}-{protocol}" for name in sets for protocol in protocols]


@pytest.mark.parametrize("name", ["fl", "sflv1", "u_shaped", "by_user"])
def test_the_small_scenarios_run_on_fewer_roles(tmp_path, name):
    [job] = jobs_from(LEAF / "shakespeare.py", tmp_path, [], [f"shakespeare-{name}"])
    roles = synthetic_roles(roles=5, mean_samples=12)
    population = ByUser(roles, 0.2) if name == "by_user" else roles
    smaller = {"population": population, "cohort.size": 2, "training.rounds": 1, "model.hidden": 4}
    played = play(job.scenario.replace(**smaller, evaluation=Evaluation(clients=2)))
    assert not played.diverged
    [evaluated] = played.tables["evaluations"].to_pylist()
    assert evaluated["clients"] == (1 if name == "by_user" else 2)
