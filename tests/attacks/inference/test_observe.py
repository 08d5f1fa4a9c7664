"""Observing: the same bits with and without, what is kept and what is not, and the files."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

from raysplit import FedAvg, Observe, ParallelSl, SplitFedV1, SplitFedV2, SplitLearning, VerticalSplit
from raysplit.app.running.engine_choice import EngineChoice
from raysplit.app.running.runner import Watch, jobs_from, run_all
from raysplit.channels.channel import Channel
from raysplit.channels.hooks import Observation
from raysplit.costs.observed import observed_bytes
from raysplit.errors import RunError, ScenarioError
from raysplit.storage.observations import (
    adopt_observations,
    observed_rounds,
    path_of,
    read_observations,
    rewind_observations,
    write_observations,
)
from raysplit.storage.schemas import SCHEMAS, deterministic_columns
from tests.toys import play, toy

ALL = ("smashed", "cut_gradients")


def same(one: list[Observation], other: list[Observation]) -> bool:
    return len(one) == len(other) and all(
        replace(a, tensors={}) == replace(b, tensors={})
        and a.tensors.keys() == b.tensors.keys()
        and all(a.tensors[name].equal(b.tensors[name]) for name in a.tensors)
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("protocol", [SplitFedV1(), SplitFedV2(), SplitFedV2(u_shaped=True), SplitLearning()])
def test_observing_changes_no_bit_of_a_run(protocol):
    tail = "fc1" if protocol.u_shaped else None
    plain = play(toy(protocol, cut="V1", tail=tail))
    watched = play(toy(protocol, cut="V1", tail=tail, observe=Observe((1, 2), ALL)))
    assert watched.digest == plain.digest
    for name, schema in SCHEMAS.items():
        columns = deterministic_columns(schema)
        assert watched.tables[name].select(columns).equals(plain.tables[name].select(columns))
    assert len(watched.observations) > 2 and not plain.observations


def test_a_scenario_that_observes_nothing_has_the_hash_that_it_had():
    assert "observe" not in toy(SplitFedV2()).to_json()
    assert toy(SplitFedV2(), observe=Observe((1,))).hash != toy(SplitFedV2()).hash


def test_it_keeps_the_first_samples_of_the_named_clients_and_rounds():
    observe = Observe((2,), ALL, clients=(1, 4), max_samples=6)
    noted = play(toy(SplitFedV2(), observe=observe)).observations
    assert {o.round for o in noted} == {2} and {o.client for o in noted} == {1, 4}
    for client in (1, 4):
        for channel in (Channel.SMASHED, Channel.CUT_GRADIENTS):
            rows = [len(o.tensors["tensor"]) for o in noted if (o.client, o.channel) == (client, channel)]
            assert rows[0] == 4 and sum(rows) <= 6


def test_labels_are_kept_where_they_travel_and_nowhere_else():
    vanilla = play(toy(SplitFedV2(), observe=Observe((1,), ALL))).observations
    assert all(("labels" in o.tensors) == (o.channel is Channel.SMASHED) for o in vanilla)
    u_shaped = play(toy(SplitFedV2(u_shaped=True), tail="fc1", observe=Observe((1,)))).observations
    assert u_shaped and not any("labels" in o.tensors for o in u_shaped)


@pytest.mark.parametrize(
    ("protocol", "observe", "words"),
    [
        (SplitFedV2(), Observe((1,), ("features",)), "which SplitFedV2 does not have"),
        (FedAvg(), Observe((1,)), "which FedAvg does not have"),
        (VerticalSplit(parties=2), Observe((1,)), "one site group"),
        (SplitFedV2(), Observe((9,)), "starts in round 9"),
    ],
)
def test_what_cannot_be_observed_is_refused(protocol, observe, words):
    with pytest.raises(ScenarioError, match=words):
        toy(protocol, observe=observe)


@pytest.mark.parametrize("arguments", [{"rounds": ()}, {"rounds": (0,)}, {"rounds": (1,), "max_samples": 0}])
def test_observe_refuses_what_keeps_nothing(arguments):
    with pytest.raises(ScenarioError, match="Observe"):
        Observe(**arguments)


@pytest.mark.parametrize(
    ("protocol", "observe"),
    [
        (SplitFedV2(), Observe((1, 2), ALL, max_samples=1000)),
        (SplitFedV2(), Observe((2,), ALL, clients=(1, 4), max_samples=2)),
        (SplitFedV2(u_shaped=True), Observe((1,), ("smashed", "features", "feature_gradients"), max_samples=2)),
    ],
)
def test_what_is_kept_is_no_more_than_was_announced(protocol, observe):
    scenario = toy(protocol, cut="V1", tail="fc1" if protocol.u_shaped else None, observe=observe)
    kept = sum(t.numel() * t.element_size() for o in play(scenario).observations for t in o.tensors.values())
    announced = observed_bytes(scenario)
    assert kept == announced if observe.max_samples == 2 else kept < announced
    assert observed_bytes(toy(SplitFedV2())) == 0


def test_files_give_back_what_was_noted(tmp_path):
    played = play(toy(ParallelSl(), observe=Observe((1, 2), ALL)), folder=tmp_path)
    folder = tmp_path / "observations"
    assert observed_rounds(folder) == [1, 2]
    for round in (1, 2):
        there = read_observations(folder, round)
        assert there is not None and same(there, [o for o in played.observations if o.round == round])
    adopt_observations(folder, tmp_path / "other", 1)
    assert observed_rounds(tmp_path / "other") == [1]
    rewind_observations(folder, 1)
    assert observed_rounds(folder) == [1] and read_observations(folder, 2) is None


def test_a_resumed_run_neither_loses_nor_doubles_observations(tmp_path):
    from raysplit.storage.checkpoints import read_checkpoint

    scenario = toy(SplitFedV2(), training__rounds=4, checkpoint_every=2, observe=Observe((2, 3)))
    straight = play(scenario, folder=tmp_path / "straight")
    half = read_checkpoint(tmp_path / "straight" / "checkpoints" / "round-000002", straight.layout, scenario.hash)
    rewind_observations(tmp_path / "straight" / "observations", 2)
    before = (path_of(tmp_path / "straight" / "observations", 2)).read_bytes()
    resumed = play(scenario, start=half, folder=tmp_path / "resumed")
    assert observed_rounds(tmp_path / "resumed" / "observations") == [3]
    assert same(resumed.observations, [o for o in straight.observations if o.round == 3])
    assert path_of(tmp_path / "straight" / "observations", 2).read_bytes() == before


FORKED = """
from raysplit import *

clean = Scenario(
    name="clean",
    population=synthetic_writers(writers=8, mean_samples=10, sd_samples=1),
    model=femnist_cnn(cut="V1"),
    protocol=SplitFedV2(),
    cohort=Cohort(size=4, malicious=0.25, of="cohort"),
    training=Training(rounds=4, lr=0.05, batch_size=5),
    evaluation=Evaluation(every=4, clients=2),
    observe=Observe((1, 4), max_samples=2),
)
later = Observe((3,), max_samples=2)
scenarios = [
    clean,
    clean.replace(name="attacked", attack=SignFlip(start_round=3)),
    clean.replace(name="unobserved", observe=None),
    clean.replace(name="later", observe=later),
]
"""


def test_a_forked_run_has_the_observations_of_the_rounds_that_it_takes_over(tmp_path):
    (tmp_path / "forked.py").write_text(FORKED)
    jobs = jobs_from(tmp_path / "forked.py", tmp_path / "runs", [])
    for _ in run_all(jobs, EngineChoice(engine="local"), lambda _: nullcontext(Watch())):
        pass
    clean, attacked, unobserved, later = (job.folder for job in jobs)
    assert attacked.state()["forked_rounds"] == 2 and observed_rounds(attacked.observations) == [1, 4]
    files = [path_of(folder.observations, 1).read_bytes() for folder in (clean, attacked)]
    assert files[0] == files[1]
    assert path_of(clean.observations, 4).read_bytes() != path_of(attacked.observations, 4).read_bytes()
    assert "forked_rounds" not in unobserved.state() and not unobserved.observations.exists()
    assert later.state()["forked_from"] == unobserved.path.name and later.state()["forked_rounds"] == 2
    assert observed_rounds(later.observations) == [3]


def test_damaged_and_newer_files_are_refused_in_a_sentence(tmp_path):
    noted = Observation("Mine", Channel.SMASHED, 1, 0, 0, 0, {"z": torch.arange(6.0).view(2, 3)})
    write_observations(tmp_path, 1, [noted])
    path = path_of(tmp_path, 1)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(RunError, match="damaged"):
        read_observations(tmp_path, 1)
    with pytest.raises(RunError, match="float16"):
        write_observations(tmp_path, 2, [replace(noted, tensors={"z": torch.zeros(2, dtype=torch.float16)})])
