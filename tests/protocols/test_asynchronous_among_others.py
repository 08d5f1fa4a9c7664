"""Asynchronous, published and other-party protocols with everything else: what goes together, and a sentence for what
does not."""

import math
from typing import ClassVar

import pytest

from raysplit.aggregation.rules.fltrust import FLTrust
from raysplit.aggregation.rules.fools_gold import FoolsGold
from raysplit.aggregation.rules.trimmed_mean import TrimmedMean
from raysplit.errors import ScenarioError
from raysplit.models.gin import gin
from raysplit.parts.part import part
from raysplit.population.selection.availability import DayNight
from raysplit.population.selection.cohort import Cohort
from raysplit.population.selection.draws import FixedRing, Poisson, Weighted
from raysplit.population.selection.dropouts import Dropouts
from raysplit.protocols.as_published import THAPA2022
from raysplit.protocols.buffered import BufferedSplitFed, Speeds
from raysplit.protocols.centralized import Centralized
from raysplit.protocols.extended_split import ExtendedSplit
from raysplit.protocols.loss_drop import AsyncSplitFed, AsyncSplitLearning
from raysplit.protocols.minibatch_sfl import MiniBatchSfl
from raysplit.protocols.multi_task_split import MultiTaskSplit, Task
from raysplit.protocols.protocol import TrainingProtocol
from raysplit.protocols.split_learning import SplitLearning
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.protocols.topology import Topology
from raysplit.protocols.vertical_split import VerticalSplit
from raysplit.scenario.devices import DATACENTER, DeviceProfile, Devices
from raysplit.scenario.layout import Layout
from raysplit.storage.checkpoints import read_checkpoint
from raysplit.training.servers.shared_server import SharedServer
from tests.models.dropouts import DropoutCnn
from tests.toys import play, toy

ALWAYS, NEVER = -1e9, 1e9
"""Loss drops that every round has, and that none has."""
VARYING = [
    Cohort(3, draw=Weighted()),
    Cohort(3, draw=Poisson(0.5), available=DayNight(3, 0.7), dropouts=Dropouts(0.3), at_least=2),
    Cohort(2, available=DayNight(2, 0.5, spread=0)),
    Cohort(5, dropouts=Dropouts(0.4)),
]
LOSING = Cohort(5, dropouts=Dropouts(0.4, when="after"))
TOPOLOGIES = [VerticalSplit(1), ExtendedSplit(), MultiTaskSplit((Task("only"),))]
PHONES = Devices(clients=DeviceProfile(1e9, 1e6, 1e6), server=DATACENTER)
NOT_WHOLE = [
    ({"dropouts": Dropouts(0.1)}, "leave Cohort.dropouts out"),
    ({"available": DayNight(2, 0.5)}, "leave Cohort.available out"),
    ({"draw": Poisson()}, r"leave Cohort.draw"),
]


def same(one, other):
    assert one.digest == other.digest
    for table in ("clients", "channels", "evaluations", "client_evaluations"):
        assert one.tables[table] == other.tables[table]


@pytest.mark.parametrize(
    "asynchronous,plain,cohorts",
    [
        (AsyncSplitFed(ALWAYS), SplitFedV2(), [*VARYING, LOSING]),
        (AsyncSplitLearning(ALWAYS), SplitLearning(), VARYING),
    ],
)
def test_full_rounds_are_the_synchronous_protocol_whoever_turns_up(asynchronous, plain, cohorts):
    for cohort in cohorts:
        changes = {"cohort": cohort, "training__rounds": 6, "model": DropoutCnn("V2")}
        same(play(toy(asynchronous, **changes)), play(toy(plain, **changes)))


@pytest.mark.parametrize("cohort", [*VARYING, LOSING], ids=str)
def test_rounds_of_the_server_alone_leave_client_portions_whoever_turns_up(tmp_path, cohort):
    scenario = toy(AsyncSplitFed(NEVER), cohort=cohort, training__rounds=9)
    whole = play(scenario)
    assert not whole.diverged and "state" in whole.state.memory["fed/loss_drop"]
    clients = [row["round"] for row in whole.tables["rounds"].to_pylist() if row["clients"]]
    assert len(clients) >= 4, "rounds in all three states"
    after = {}
    for stop in range(1, 9):
        short = scenario.replace(**{"training.rounds": stop})
        play(short, folder=tmp_path / str(stop))
        path = tmp_path / str(stop) / "checkpoints" / f"round-{stop:06d}"
        after[stop] = read_checkpoint(path, Layout(short), short.hash)
        assert play(scenario, start=after[stop]).digest == whole.digest
        if stop > 1 and stop not in clients:
            assert after[stop].memory["fed/loss_drop"].keys() == after[stop - 1].memory["fed/loss_drop"].keys(), (
                "a round passed over decides nothing"
            )
            assert all(
                after[stop].memory["fed/loss_drop"][name].equal(kept)
                for name, kept in after[stop - 1].memory["fed/loss_drop"].items()
            )
    second = clients[1]
    assert all(state.client.equal(after[second].client) for stop, state in after.items() if stop >= second)
    assert not whole.state.server.equal(after[second].server)


@pytest.mark.parametrize("defense", [FoolsGold(), FLTrust((0, 2))], ids=repr)
def test_rules_with_memory_and_roots_see_what_arrives(defense):
    """Nobody slower and a buffer for all: what the rule remembers and its root clients are those of SplitFedV2."""
    changes = {"cohort": Cohort(4), "defense": defense, "training__rounds": 3, "model": DropoutCnn("V2")}
    one = play(toy(BufferedSplitFed(4, speeds=Speeds(0.0)), **changes))
    same(one, play(toy(SplitFedV2(), **changes)))
    late = play(toy(BufferedSplitFed(2), **changes))
    assert set(late.tables["aggregation"].column("n").to_pylist()) == {2}
    came = {str(row["client"]) for row in late.tables["clients"].to_pylist() if math.isfinite(row["update_norm"])}
    assert len(came) >= 2 and set(late.state.memory.get("fed/rule/updates", {})) == (
        came if isinstance(defense, FoolsGold) else set()
    )


def test_what_a_server_kept_is_what_the_client_sent_masks_and_all(monkeypatch):
    """In state C the server trains on the smashed data of state B, although the simulator computes them again."""
    sent = {}

    def handle(self, message):
        sent[message.round, message.client, message.step] = message.tensor.clone()
        return original(self, message)

    original = SharedServer.handle
    monkeypatch.setattr(SharedServer, "handle", handle)
    play(toy(AsyncSplitFed(NEVER), model=DropoutCnn("V2"), training__rounds=4))
    in_b = {key[1:]: z for key, z in sent.items() if key[0] == 3}
    in_c = {key[1:]: z for key, z in sent.items() if key[0] == 4}
    assert len(in_c) > 6 and in_b.keys() == in_c.keys()
    assert all(in_b[key].equal(z) for key, z in in_c.items())
    in_a = {key[1:]: z for key, z in sent.items() if key[0] == 2}
    assert not any(in_a[key].equal(z) for key, z in in_b.items())


@pytest.mark.parametrize("protocol", TOPOLOGIES, ids=repr)
@pytest.mark.parametrize("cohort", [VARYING[0], Cohort(2, available=DayNight(2, 0.5, spread=0))], ids=str)
def test_one_party_of_a_cohort_that_varies_is_centralised_training_masks_and_all(protocol, cohort):
    changes = {"cohort": cohort, "model": DropoutCnn("V1", "fc1"), "training__rounds": 3, "training__local_epochs": 2}
    changes |= {"training__client_state": "per_client", "training__server_state": "persistent"}
    split, whole = play(toy(protocol, **changes)), play(toy(Centralized(), **changes))
    for one, other in zip(split.named.values(), whole.named.values(), strict=True):
        assert one.equal(other)
    assert split.tables["clients"] == whole.tables["clients"]


def test_clients_tested_in_training_are_in_the_table_of_clients():
    played = play(toy(SplitFedV1(as_published="thapa2022"), cohort=Cohort(3), training__rounds=2))
    for round in (1, 2):
        judged, trained = (
            [row["client"] for row in played.tables[table].to_pylist() if row["round"] == round]
            for table in ("client_evaluations", "clients")
        )
        assert judged == trained


@pytest.mark.parametrize("changes,remedy", NOT_WHOLE)
@pytest.mark.parametrize(
    "protocol",
    [BufferedSplitFed(2), SplitFedV1(as_published="thapa2022"), SplitLearning(as_published="slperf")],
    ids=repr,
)
def test_whose_rounds_are_of_one_size_refuses_cohorts_that_are_not(protocol, changes, remedy):
    with pytest.raises(ScenarioError, match=remedy):
        toy(protocol, cohort=Cohort(3, **changes))


@pytest.mark.parametrize("draw", [Weighted(), FixedRing()])
def test_free_places_are_filled_uniformly(draw):
    with pytest.raises(ScenarioError, match=r"fills free places uniformly; leave Cohort\.draw out"):
        toy(BufferedSplitFed(2), cohort=Cohort(3, draw=draw))


@pytest.mark.parametrize(
    "protocol",
    [
        BufferedSplitFed(2),
        AsyncSplitFed(),
        AsyncSplitLearning(),
        VerticalSplit(),
        SplitFedV1(as_published="thapa2022"),
        SplitFedV2("client_major", as_published="slperf"),
    ],
    ids=repr,
)
def test_virtual_time_is_of_protocols_whose_clocks_are_known(protocol):
    with pytest.raises(ScenarioError, match=r"virtual time cannot be given; leave Scenario\.devices"):
        toy(protocol, "V1", devices=PHONES)


@pytest.mark.parametrize("protocol", TOPOLOGIES, ids=repr)
def test_one_site_group_cannot_drop_out(protocol):
    with pytest.raises(ScenarioError, match="is one party that cannot drop out"):
        toy(protocol, "V1", "fc1", cohort=Cohort(3, dropouts=Dropouts(0.1)))


def test_async_split_learning_loses_no_portion():
    with pytest.raises(ScenarioError, match=r"AsyncSplitLearning hands portions over; use when='before'"):
        toy(AsyncSplitLearning(), cohort=LOSING)


def test_a_trim_is_judged_by_the_buffer():
    """A fifth of five under way is one, of a buffer of three none to speak of: 1 of 3 from each side leaves one."""
    defense = TrimmedMean("assumed")
    assert toy(BufferedSplitFed(3), cohort=Cohort(5, malicious=0.2), defense=defense)
    with pytest.raises(
        ScenarioError, match=r"needs at least 3 updates against 1 malicious clients, but a buffer of 2 brings only 2"
    ):
        toy(BufferedSplitFed(2), cohort=Cohort(5, malicious=0.4), defense=defense)


@pytest.mark.parametrize("reading", ["gradients", "accumulated"])
def test_published_splitfed_v1_has_copies(reading):
    with pytest.raises(ScenarioError, match=rf"but reading is '{reading}'; use reading='copies'"):
        SplitFedV1(reading=reading, as_published="thapa2022")


def test_published_split_learning_trains_whole_clients():
    with pytest.raises(ScenarioError, match="schedule is 'minibatch'; use schedule='client'"):
        SplitLearning(schedule="minibatch", as_published="slperf")


def test_an_optimiser_anew_for_every_batch_needs_a_step_a_batch():
    with pytest.raises(ScenarioError, match=r"anew after every split step, but MiniBatchSfl has server_step='step'"):
        toy(MiniBatchSfl(), training__server_state="each_batch")


def test_packed_graphs_and_texts_have_no_width():
    with pytest.raises(
        ScenarioError, match="reads packed graphs or texts, which have no width; take a model of images"
    ):
        toy(VerticalSplit(2), pixels="bytes").replace(model=gin(8, 3, 5))


@part
class Own(TrainingProtocol):
    """A user's protocol: SplitFedV2 with one more answer."""

    u_shaped: bool = False
    client_sync: str = "averaging"
    server: str = "shared"
    order: str = "interleaved"
    threshold: ClassVar[float] = 0.1
    client_state: ClassVar[str] = "fresh"
    server_state: ClassVar[str] = "persistent"


def own(base=Own, /, **answers):
    """``Own`` with other values of its fields, and class attributes for all other answers."""
    fields = {name: answers.pop(name) for name in list(answers) if name in Own.__dataclass_fields__}
    return type("Mine", (base,), answers)(**fields)


@pytest.mark.parametrize(
    "answers,sentence",
    [
        ({"synchrony": "slow"}, "synchrony must be 'synchronous' or 'loss_drop' or 'buffered', but it is 'slow'"),
        (
            {"synchrony": "loss_drop", "server_step": "step"},
            "server_step='step' and u_shaped=False; leave synchrony out",
        ),
        (
            {"synchrony": "loss_drop", "u_shaped": True},
            "server_step='split_step' and u_shaped=True; leave synchrony out",
        ),
        (
            {"synchrony": "loss_drop", "client_sync": "personal"},
            "meet by averaging or handover, but Mine has client_sync='personal'",
        ),
        ({"synchrony": "loss_drop", "client_sync": "handover"}, "has order='interleaved'; use 'client_major'"),
        (
            {"synchrony": "buffered", "client_sync": "handover"},
            "meet by averaging, but Mine has client_sync='handover'",
        ),
        ({"synchrony": "buffered"}, r"needs a plan\(\) of Mine's own"),
        ({"published": THAPA2022, "server_step": "step"}, "has server_step='step' and synchrony='synchronous'"),
        ({"published": THAPA2022, "synchrony": "loss_drop"}, "has server_step='split_step' and synchrony='loss_drop'"),
        (
            {"published": THAPA2022, "client_sync": "personal"},
            "about client portions that meet, but Mine has client_sync='personal'",
        ),
        ({"topology": Topology("extended")}, "it needs client_sync='one_party' and server='shared'"),
    ],
)
def test_answers_of_ones_own_that_do_not_go_together(answers, sentence):
    with pytest.raises(ScenarioError, match=sentence):
        toy(own(**answers), "V1", "fc1")


def test_a_threshold_must_be_there():
    class Bare(TrainingProtocol):
        u_shaped, client_sync, server, order = False, "averaging", "shared", "interleaved"
        client_state, server_state, synchrony = "fresh", "persistent", "loss_drop"

    with pytest.raises(ScenarioError, match=r"synchrony='loss_drop' needs a Bare.threshold, in nats"):
        toy(part(Bare)())
