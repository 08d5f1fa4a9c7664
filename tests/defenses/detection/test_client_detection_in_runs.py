"""Detectors at clients in whole runs: no bit of the training moved, fakes that really travel, stops, memory, refusals."""

import re

import numpy as np
import pytest
import torch

import raysplit
from raysplit import (
    CycleSfl,
    Detection,
    FedAvg,
    GradientsScrutinizer,
    LabelScreen,
    ParallelSl,
    RandomLabels,
    Sglr,
    SplitFedV1,
    SplitFedV2,
    SplitGuard,
    SplitLearning,
    SplitOut,
)
from raysplit.analysis.report.detection import client_detection_section
from raysplit.analysis.report.record import run_section
from raysplit.contracts import ClientDetector, ClientVerdict, MessageHook, part
from raysplit.errors import ScenarioError
from raysplit.memory.memory import CLIENT_DETECTION, client_path
from raysplit.protocols.batching import Batching
from raysplit.simulation.data_check import check_data
from raysplit.storage.checkpoints import read_checkpoint
from tests.toys import FrozenCnn, ToyCnn, play, toy

PASSIVE = (GradientsScrutinizer(every=4, window=1), SplitOut(share=1.0, epochs=3, window=2))
FAKES = SplitGuard(p_fake=0.5, start=2, window=2)
DETECTION = Detection(at_clients=(*PASSIVE, FAKES))


@part
class Scripted(ClientDetector):
    """Finds an attack in a client's batch number ``at``, and pretends in batch number ``pretends``."""

    at: int = 0
    pretends: int = 0
    window: int = 1
    threshold: float = 0.5

    def pretended(self, view, memory):
        return (view.labels + 1) % view.classes if view.batch == self.pretends else None

    def judge(self, view, memory):
        seen = torch.cat([memory.get("seen", view.first_layer[:0]), view.first_layer[:1]])
        return ClientVerdict(float(view.batch != self.at), {"seen": seen})


class Labels(MessageHook):
    """What came to the main server: labels by (round, client, step)."""

    party = "main_server"
    channels = frozenset({"smashed"})

    def observe(self, message, labels):
        return {"labels": message.labels}


@pytest.mark.parametrize(
    ("protocol", "tail"),
    [
        (SplitFedV2(), None),
        (SplitFedV2(u_shaped=True), "fc1"),
        (SplitFedV1(), None),
        (SplitLearning(schedule="minibatch"), None),
        (ParallelSl(), None),
        (CycleSfl(), None),
    ],
    ids=repr,
)
def test_detectors_that_only_listen_move_no_bit_of_the_run(protocol, tail):
    plain = toy(protocol, model=ToyCnn("V1", tail, batch_norm=True), population__smallest=4)
    reference, watched = play(plain), play(plain.replace(detection=Detection(at_clients=PASSIVE)))
    assert watched.digest == reference.digest
    for name in ("rounds", "clients", "channels", "evaluations"):
        columns = [
            c
            for c in ("train_loss", "train_accuracy", "steps", "bytes", "accuracy")
            if c in column_names(watched, name)
        ]
        assert watched.tables[name].select(columns).equals(reference.tables[name].select(columns))
    rows = watched.tables["client_scores"].to_pylist()
    assert {row["detector"] for row in rows} >= {"SplitOut"} and reference.tables["client_scores"].num_rows == 0
    assert sum(row["detector"] == "SplitOut" for row in rows) == sum(watched.messages_on(r)["smashed"] for r in (1, 2))
    assert watched.tables["detection"].num_rows == 0


def column_names(played, name):
    return played.tables[name].column_names


@pytest.mark.parametrize("protocol", [SplitFedV2(), SplitLearning()], ids=repr)
def test_a_resumed_run_goes_on_with_what_each_client_remembers(protocol, tmp_path):
    scenario = toy(protocol, cut="V1", training__rounds=4, checkpoint_every=2, detection=DETECTION)
    straight = play(scenario, folder=tmp_path)
    half = read_checkpoint(tmp_path / "checkpoints" / "round-000002", straight.layout, scenario.hash)
    resumed = play(scenario, start=half)
    assert resumed.digest == straight.digest
    paths = [client_path(client, CLIENT_DETECTION) for client in range(6)]
    for path in paths:
        kept, again = straight.state.memory[path], resumed.state.memory[path]
        assert kept.keys() == again.keys() and all(kept[name].equal(again[name]) for name in kept)
    later = [row for row in straight.tables["client_scores"].to_pylist() if row["round"] > 2]
    assert resumed.tables["client_scores"].to_pylist() == later
    assert {row["detector"] for row in later} == {"GradientsScrutinizer", "SplitOut", "SplitGuard"}


@pytest.mark.parametrize("tail", [None, "fc1"])
def test_a_fake_batch_really_travels_and_its_client_learns_nothing_from_it(tail):
    """Client 2's second batch is fake: the server gets its labels shifted and learns on them, the portion stays."""
    protocol = ParallelSl(order="client_major", u_shaped=tail is not None)
    base = toy(protocol, cut="V1", tail=tail, clients=1, population__smallest=8, training__rounds=1)
    plain, pretending = play(base), play(base.replace(detection=Detection(at_clients=(Scripted(pretends=2),))))
    hook = (Labels(),)
    if tail is None:
        true = play(base, hooks=hook).observations
        sent = play(base.replace(detection=Detection(at_clients=(Scripted(pretends=2),))), hooks=hook).observations
        shifts = [(s.tensors["labels"] - t.tensors["labels"]) % 5 for s, t in zip(sent, true, strict=True)]
        assert [set(shift.tolist()) for shift in shifts] == [{0}, {1}]
    own, faked = plain.state.client_portions[0], pretending.state.client_portions[0]
    assert not own.equal(faked)
    first_only = play(base.replace(detection=Detection(at_clients=(Scripted(at=2),), action="stop")))
    assert faked.equal(first_only.state.client_portions[0]), "as if it had taken the first step alone"
    assert not pretending.state.server.equal(first_only.state.server), "the server has learned wrong labels"
    rows = pretending.tables["clients"].to_pylist()
    assert rows[0]["steps"] == plain.tables["clients"].to_pylist()[0]["steps"] - 1
    assert pretending.bytes_on() == plain.bytes_on() and pretending.messages_on() == plain.messages_on()


def test_a_client_that_stops_takes_no_more_steps_in_any_round_and_others_go_on():
    """Each client finds an attack in its first batch of round 2: what it held after round 1 is what it keeps."""
    one_round = toy(ParallelSl(), cut="V1", training__rounds=1)
    steps = [Batching(4).steps(int(n)) for n in one_round.population.open().train_sizes(np.arange(6))]
    at = steps[0] + 1
    stopping = Detection(at_clients=(Scripted(at=at),), action="stop")
    after_one = play(one_round).state.client_portions
    stopped = play(one_round.replace(**{"training.rounds": 3, "detection": stopping}))
    same = [client for client in range(6) if stopped.state.client_portions[client].equal(after_one[client])]
    assert 0 in same and same == [client for client in range(6) if steps[client] == steps[0]]
    rows = [row for row in stopped.tables["client_scores"].to_pylist() if row["client"] == 0]
    assert [row["attack"] for row in rows] == [False] * steps[0] + [True], "it judges no more once it has stopped"
    assert stopped.messages_on(3) == stopped.messages_on(1), "the server waits for its messages"


def test_what_a_detector_sees_is_the_gradient_of_the_clients_first_weight():
    """One client, plain SGD, one step a round: the first weight has moved by −lr times what was seen."""
    scenario = toy(
        SplitFedV2(),
        cut="V1",
        clients=1,
        training__batch_size=None,
        training__rounds=1,
        training__optimizer__momentum=0.0,
        training__optimizer__weight_decay=0.0,
        detection=Detection(at_clients=(Scripted(),)),
    )
    played = play(scenario)
    seen = played.state.memory[client_path(0, CLIENT_DETECTION)]["0/memory/seen"]
    before = played.layout.named(played.layout.initial())["conv1.0.weight"].flatten()[0]
    moved = played.named["conv1.0.weight"].flatten()[0] - before
    assert float(moved) == pytest.approx(-0.05 * float(seen[0]), abs=1e-7)


def test_random_labels_are_what_the_server_learns_on_and_answers_with():
    scenario = toy(SplitFedV2(), cut="V1")
    honest, attacked = play(scenario), play(scenario.replace(attack=RandomLabels()))
    assert not attacked.state.client.equal(honest.state.client)
    assert not attacked.state.server.equal(honest.state.server)
    rows = attacked.tables["attacks"].to_pylist()
    assert [row["attack"] for row in rows] == ["RandomLabels"] * 2
    assert all(0.5 < row["relabelled"] <= 1 for row in rows), "four in five are others"
    assert attacked.label_bytes_on() == honest.label_bytes_on()


@pytest.mark.parametrize(
    ("protocol", "changes", "words"),
    [
        (FedAvg(), {}, "FedAvg has no such channel"),
        (Sglr(), {}, "Sglr sends all clients a mean of them"),
        (SplitFedV2("client_major", as_published="slperf"), {}, "detects nobody"),
        (SplitFedV2(), {"model": FrozenCnn("V1", frozen=("conv1",))}, "nothing before the cut of FrozenCnn trains"),
    ],
    ids=["no cut gradients", "a mean of them", "published", "frozen head"],
)
def test_where_clients_could_not_judge_detection_is_refused(protocol, changes, words):
    with pytest.raises(ScenarioError, match=words):
        toy(protocol, **{"cut": "V1", **changes}, detection=Detection(at_clients=(GradientsScrutinizer(),)))


def test_a_client_with_too_few_samples_for_a_training_of_its_own_is_named():
    scenario = toy(SplitFedV2(), cut="V1", detection=Detection(at_clients=(SplitOut(share=0.5),)))
    with pytest.raises(
        ScenarioError, match=r"client 0 of population 'toys' has 3 training samples, but SplitOut needs"
    ):
        check_data(scenario, play(toy(SplitFedV2(), cut="V1", training__rounds=1)).layout, scenario.population.open())
    with pytest.raises(ScenarioError, match="an epoch has one batch"):
        scenario.replace(**{"training.batch_size": None})


def test_what_is_no_batch_of_labels_is_not_sent():
    @part
    class Wrong(Scripted):
        def pretended(self, view, memory):
            return view.labels + 5

    with pytest.raises(Exception, match="must return 3 labels from 0 to 4"):
        play(toy(SplitFedV2(), cut="V1", clients=1, detection=Detection(at_clients=(Wrong(),))))


def test_the_report_has_a_line_for_every_detector(tmp_path):
    """Client 0's second batch raises the only alarm."""
    scenario = toy(
        SplitFedV2(), cut="V1", clients=1, training__rounds=2, detection=Detection(at_clients=(Scripted(at=2),))
    )
    run = raysplit.run(scenario, engine="local", out=tmp_path)
    shown = re.sub("<[^>]+>", " ", client_detection_section(run)).split("An alarm")[0]
    assert re.search(r"Scripted\s+1\s+2\s+0\.500\s+0\s+1\s+2\s+2", shown), shown
    assert client_detection_section(run) in run_section(run, "toy")
    plain = raysplit.run(scenario.replace(detection=None), engine="local", out=tmp_path)
    assert client_detection_section(plain) == ""


def test_the_canonical_form_of_detection_without_them_is_what_it_was():
    form = toy(SplitFedV2(), cut="V1", detection=Detection((LabelScreen(),))).to_json()["detection"]
    assert form.keys() == {"type", "screens", "rollback", "answer"}
