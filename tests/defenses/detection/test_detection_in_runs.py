"""Detection in whole runs: the same bits without a rejection, straight through or resumed, and what a rollback
restores."""

import pytest
import torch

from raysplit.defenses.detection.detection import Detection, Judgement, Rollback, Screen, Verdict
from raysplit.defenses.detection.gradient_screen import GradientScreen
from raysplit.defenses.detection.label_screen import LabelScreen
from raysplit.defenses.detection.safe_split import SafeSplit
from raysplit.defenses.detection.smashed_screen import SmashedScreen
from raysplit.parts.part import part
from raysplit.population.selection.cohort import Cohort
from raysplit.protocols.parallel_sl import ParallelSl
from raysplit.protocols.split_learning import SplitLearning
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.storage.checkpoints import newest_checkpoint, read_checkpoint
from raysplit.training.optimizers import Adam
from tests.toys import ToyCnn, play, toy

EVERY = (LabelScreen(1e9), SmashedScreen(1e9), GradientScreen(1e9))
LENIENT = Detection(EVERY, SafeSplit(margin=1e9))
STRICT = Detection((SmashedScreen(2.0), GradientScreen(2.0)), SafeSplit(margin=1.0), "zeros")


@part
class RejectsOne(Screen):
    """A screen that rejects every split step of one client."""

    client: int

    def judge(self, view, memory):
        return Verdict(view.client != self.client, {"seen": memory.get("seen", torch.zeros(())) + 1})


@part
class UndoesOne(Rollback):
    """A rollback that takes back every local round of one client, and ``undo`` − 1 local rounds before it."""

    client: int
    undo: int = 1
    window: int = 4

    def judge(self, view, memory):
        return Judgement(self.undo if view.client == self.client else 0)


@pytest.mark.parametrize(
    ("protocol", "detection", "tail"),
    [
        (SplitFedV2(), Detection(EVERY), None),
        (SplitFedV2("client_major"), LENIENT, None),
        (SplitFedV2("client_major", u_shaped=True), Detection(EVERY[1:], SafeSplit(margin=1e9)), "fc1"),
        (SplitLearning(), LENIENT, None),
        (SplitLearning(schedule="minibatch"), Detection(EVERY), None),
        (ParallelSl(order="client_major"), LENIENT, None),
    ],
    ids=repr,
)
def test_where_nothing_is_rejected_it_is_the_run_without_detection(protocol, detection, tail):
    model = ToyCnn("V1", tail, batch_norm=True)
    plain = toy(protocol, model=model, training__server_optimizer=Adam())
    reference, watched = play(plain), play(plain.replace(detection=detection))
    assert watched.digest == reference.digest
    assert all(
        watched.state.memory.get("server/optimizer", {})[n].equal(t)
        for n, t in reference.state.memory.get("server/optimizer", {}).items()
    )
    rows = watched.tables["detection"].to_pylist()
    assert [row["round"] for row in rows] == [1, 2] and reference.tables["detection"].num_rows == 0
    assert all(row["split_steps"] == watched.messages_on(row["round"])["smashed"] for row in rows)
    assert all(row["local_rounds"] == (6 if detection.rollback else 0) for row in rows)
    assert not any(row["rejected_malicious"] + row["rejected_honest"] + row["rollbacks_honest"] for row in rows)


@pytest.mark.parametrize("u_shaped", [False, True])
def test_a_rejected_visit_teaches_the_server_nothing(u_shaped):
    """One client alone, always rejected: portion, BatchNorm statistics and optimiser stay as they were; only its own
    portion moves."""
    model = ToyCnn("V1", "fc1" if u_shaped else None, batch_norm=True)
    protocol = SplitFedV2(u_shaped=u_shaped)
    scenario = toy(protocol, clients=1, model=model, detection=Detection((RejectsOne(0),)))
    played = play(scenario)
    assert played.state.server.equal(played.layout.initial().server) and not played.state.memory.get(
        "server/optimizer", {}
    )
    assert not played.state.client.equal(played.layout.initial().client)
    still = play(
        scenario.replace(
            **{"detection": Detection((RejectsOne(0),), answer="zeros"), "training.optimizer.weight_decay": 0.0}
        )
    )
    if not u_shaped:
        start = still.layout.initial().client
        parameters = still.layout.client.parameters
        assert still.state.client[:parameters].equal(start[:parameters]), "zeros move nothing without weight decay"
    assert played.state.memory.get("server/detection", {})["screen/0/seen"] == sum(
        row["split_steps"] for row in played.tables["detection"].to_pylist()
    )


@pytest.mark.parametrize("server_state", ["persistent", "fresh"])
def test_a_rollback_restores_the_portion_and_its_optimiser(server_state):
    """A client whose turns are all taken back leaves the server as if it had not come: portion, statistics, momentum,
    to the bit.

    Clients keep their own portions (``ParallelSl``), so nothing else of it reaches the others.
    """
    model = ToyCnn("V1", batch_norm=True)
    protocol = ParallelSl(order="client_major")
    settings = {"model": model, "training__server_state": server_state, "training__server_optimizer": Adam()}
    whole = toy(protocol, clients=4, detection=Detection(rollback=UndoesOne(2)), **settings)
    screened = whole.replace(detection=Detection((RejectsOne(2),), UndoesOne(-1)))
    taken_back, never_heard = play(whole), play(screened)
    assert taken_back.state.server.equal(never_heard.state.server)
    assert (
        taken_back.state.memory.get("server/optimizer", {}).keys()
        == never_heard.state.memory.get("server/optimizer", {}).keys()
        != set()
    )
    assert all(
        taken_back.state.memory.get("server/optimizer", {})[n].equal(t)
        for n, t in never_heard.state.memory.get("server/optimizer", {}).items()
    )
    assert sum(row["rollbacks_honest"] for row in taken_back.tables["detection"].to_pylist()) == 2
    assert not taken_back.state.server.equal(play(whole.replace(detection=None)).state.server)


def test_a_rollback_can_take_back_earlier_turns_too():
    """The fixed ring comes as 0, 1, 2: with client 2 goes client 1, and what is left is client 0's turn."""
    scenario = toy(
        SplitLearning(ring="fixed"), clients=3, training__rounds=1, detection=Detection(rollback=UndoesOne(2, 2))
    )
    alone = toy(SplitLearning(ring="fixed"), clients=3, training__rounds=1, detection=Detection((RejectsTwo(),)))
    played = play(scenario)
    assert played.state.server.equal(play(alone).state.server)
    (row,) = played.tables["detection"].to_pylist()
    assert (row["rollbacks_honest"], row["undone_besides"]) == (1, 1)


@part
class RejectsTwo(Screen):
    def judge(self, view, memory):
        return Verdict(view.client == 0)


@pytest.mark.parametrize(
    "protocol", [SplitFedV2("client_major"), SplitLearning(), ParallelSl(order="client_major")], ids=repr
)
def test_straight_through_or_resumed_the_same_bits(protocol, tmp_path):
    scenario = toy(protocol, clients=9, cohort=Cohort(6, 0.3), training__rounds=4, detection=STRICT)
    straight = play(scenario)
    rows = straight.tables["detection"].to_pylist()
    assert sum(row["rejected_honest"] for row in rows) and sum(row["rollbacks_honest"] for row in rows)
    play(scenario.replace(**{"training.rounds": 2}), folder=tmp_path)
    half = scenario.replace(**{"training.rounds": 2})
    saved = read_checkpoint(newest_checkpoint(tmp_path / "checkpoints"), straight.layout, half.hash)
    assert saved.memory.get("server/detection", {}), "the memory is in the checkpoint"
    resumed = play(scenario, start=saved)
    assert resumed.digest == straight.digest
    assert (
        resumed.state.memory.get("server/detection", {}).keys()
        == straight.state.memory.get("server/detection", {}).keys()
    )
    assert all(
        resumed.state.memory.get("server/detection", {})[n].equal(t)
        for n, t in straight.state.memory.get("server/detection", {}).items()
    )
    assert resumed.tables["detection"].to_pylist() == rows[2:]
    forgetful = play(scenario, start=saved.remember({"server/detection": {}}))
    assert forgetful.tables["detection"].to_pylist() != rows[2:], "it matters"


def test_truth_is_in_the_table_alone():
    """The same verdicts whoever is malicious; the table says of whom they were."""
    plain = toy(SplitFedV2("client_major"), clients=8, training__rounds=3, detection=STRICT)
    honest = play(plain)
    some = play(plain.replace(cohort=Cohort(8, 0.5, "cohort")))
    assert honest.digest == some.digest
    for before, after in zip(honest.tables["detection"].to_pylist(), some.tables["detection"].to_pylist(), strict=True):
        assert (
            after["malicious_local_rounds"] == 4
            and before["malicious_local_rounds"] == before["rejected_malicious"] == 0
        )
        for kind in ("rejected", "rollbacks"):
            assert before[f"{kind}_honest"] == after[f"{kind}_honest"] + after[f"{kind}_malicious"]
