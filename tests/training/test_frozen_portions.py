"""Portions with nothing to learn: forward only, nothing sent back, and not a bit of them moves."""

import pytest

from raysplit.costs.clock import Clock
from raysplit.costs.traffic import predicted_bytes
from raysplit.models.network import build
from raysplit.protocols.buffered import BufferedSplitFed
from raysplit.protocols.centralized import Centralized
from raysplit.protocols.cycle_sl import CyclePsl, CycleSfl
from raysplit.protocols.extended_split import ExtendedSplit
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.joint import joint
from raysplit.protocols.loss_drop import AsyncSplitFed, AsyncSplitLearning
from raysplit.protocols.minibatch_sfl import MiniBatchSfl
from raysplit.protocols.multi_task_split import MultiTaskSplit, Task
from raysplit.protocols.parallel_sl import ParallelSl
from raysplit.protocols.sglr import Sglr
from raysplit.protocols.split_learning import SplitLearning
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.protocols.splitfed_v3 import SplitFedV3
from raysplit.protocols.vertical_split import VerticalSplit
from raysplit.scenario.devices import Devices
from raysplit.training.optimizers import Adam
from tests.costs.plans import plan_of
from tests.toys import FrozenCnn, play, toy

HEAD, BODY = ("conv1", "conv2"), ("fc1", "fc2")
SITES = (VerticalSplit(parties=2), ExtendedSplit(), MultiTaskSplit((Task("one"), Task("other", weight=0.5))))
SPLIT = (
    SplitLearning(),
    SplitLearning("peer_to_peer", schedule="minibatch"),
    SplitFedV1(),
    SplitFedV1(reading="gradients"),
    SplitFedV2(),
    SplitFedV3(),
    ParallelSl(),
    MiniBatchSfl(),
    Sglr(synchronise=True),
    CycleSfl(),
    CyclePsl(),
    AsyncSplitFed(0.0),
    AsyncSplitLearning(0.0),
    BufferedSplitFed(3),
)
U_SHAPED = (SplitLearning(u_shaped=True), SplitFedV1(u_shaped=True), SplitFedV2(u_shaped=True))


def frozen(protocol, stages, still=False, batch_norm=False, **changes):
    tail = "fc1" if protocol.u_shaped or isinstance(protocol, ExtendedSplit) else None
    cut = "conv2"
    if isinstance(protocol, ExtendedSplit):
        cut, tail = "conv1", "conv2"
    model = FrozenCnn(cut, tail, batch_norm, stages, still)
    return toy(protocol, model=model, **changes)


def initial(scenario):
    network = build(joint(scenario.model, scenario.protocol), scenario.seed)
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def moved(scenario, played):
    before = initial(scenario)
    return {name for name, tensor in played.named.items() if not tensor.equal(before[name])}


def bare(names):
    """Without what a topology puts before them."""
    return {next(part for part in name.split(".") if part in (*HEAD, *BODY)) for name in names}


@pytest.mark.parametrize("protocol", (*SPLIT, *U_SHAPED, *SITES), ids=repr)
def test_a_frozen_head_is_sent_nothing_back_and_stays_as_it_is(protocol):
    scenario = frozen(protocol, HEAD, clients=4)
    played = play(scenario)
    silent = {"cut_gradients", "relay_gradients"}
    if not protocol.u_shaped:
        silent |= {"weights", "updates", "handover"}
    assert not silent & played.messages_on(1).keys() and not silent & played.messages_on(2).keys()
    assert "smashed" in played.messages_on(1)
    assert bare(moved(scenario, played)) == set(BODY)


@pytest.mark.parametrize("protocol", (*SPLIT[2:5], Sglr(), CycleSfl(), U_SHAPED[1], *SITES), ids=repr)
def test_a_frozen_server_portion_stays_as_it_is_and_lets_gradients_through(protocol):
    body = ("fc1",) if protocol.u_shaped else BODY
    scenario = frozen(protocol, body, clients=3, training__rounds=1)
    played = play(scenario)
    assert "server_updates" not in played.messages_on(1)
    assert "cut_gradients" in played.messages_on(1)
    left = set(HEAD) | (set(BODY) - set(body))
    assert bare(moved(scenario, played)) == (left if protocol.client_sync != "personal" else left - set(HEAD))


@pytest.mark.parametrize("stages", [HEAD, BODY, ("conv1",), ("conv1", "fc2"), ("conv2", "fc1")])
def test_splitfed_v1_is_fedavg_on_the_unsplit_model_whatever_is_frozen(stages):
    assert play(frozen(SplitFedV1(), stages)).digest == play(frozen(FedAvg(), stages)).digest


def test_what_is_frozen_moves_by_no_bit_however_often_it_is_averaged():
    scenario = frozen(FedAvg(), ("conv1", "fc1"), training__rounds=4)
    assert bare(moved(scenario, play(scenario))) == {"conv2", "fc2"}


@pytest.mark.parametrize(
    "protocol", [Centralized(), FedAvg(), SplitLearning(), SplitFedV1(), SplitFedV1(u_shaped=True)]
)
@pytest.mark.parametrize("stages", [HEAD, ("conv1", "fc1")])
def test_bytes_are_counted_as_predicted(protocol, stages):
    scenario = frozen(protocol, stages, batch_norm=True, clients=3, training__rounds=1, training__last_batch="drop")
    played, predicted = play(scenario), predicted_bytes(scenario, plan_of(scenario))
    assert {channel.value: bytes.tensors for channel, bytes in predicted.items()} == played.bytes_on()
    assert {channel.value: bytes.messages for channel, bytes in predicted.items()} == played.messages_on()


def test_optimiser_state_that_travels_is_that_of_what_trains():
    scenario = frozen(SplitLearning(), ("conv1",), training__optimizer=Adam(), training__client_state="travels")
    played, predicted = play(scenario), predicted_bytes(scenario, plan_of(scenario, 2))
    assert {c.value: b.tensors for c, b in predicted.items()}["handover"] == played.bytes_on(2)["handover"]


def test_batch_norm_of_a_frozen_head_goes_on_counting_unless_it_is_in_evaluation_mode():
    counting, still = (frozen(SplitFedV2(), HEAD, still, batch_norm=True) for still in (False, True))
    assert {name for name in moved(counting, play(counting)) if name.startswith("conv")} == {
        f"{stage}.1.running_{which}" for stage in HEAD for which in ("mean", "var")
    }
    assert "updates" in play(counting).messages_on()
    assert bare(moved(still, play(still))) == set(BODY)
    assert "updates" not in play(still).messages_on()


def test_evaluation_leaves_modules_in_the_mode_that_their_maker_gave_them():
    often, once = (
        frozen(SplitFedV2(), HEAD, True, batch_norm=True, training__rounds=3, evaluation__every=every)
        for every in (1, 3)
    )
    assert play(often).digest == play(once).digest


def test_a_frozen_head_costs_no_time_but_its_forward_passes():
    scenario = frozen(SplitFedV1(), HEAD, devices=Devices())
    times = [
        Clock.of(at).time(plan_of(at)).clients[0] for at in (scenario, frozen(SplitFedV1(), (), devices=Devices()))
    ]
    assert times[0].down_s == 0 and times[0].compute_s < times[1].compute_s
    assert play(scenario).tables["times"].num_rows == 12


def test_a_checkpoint_has_what_is_frozen_under_the_networks_own_names():
    scenario = frozen(SplitFedV1(), HEAD)
    played = play(scenario)
    assert {name for name in initial(scenario) if "batches" not in name} == set(played.named)
    assert played.layout.client.vector.numel() == 0
