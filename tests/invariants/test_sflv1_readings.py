"""The three readings of SplitFedV1 (reference 1.5): copies, gradients as printed, gradients accumulated batch by
batch."""

import pytest

from raysplit.errors import ScenarioError
from raysplit.protocols.minibatch_sfl import MiniBatchSfl
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.training.optimizers import Sgd
from tests.invariants.split_loop import BODY, by_hand
from tests.toys import distance, play, toy

EXACT = {"training__precision": "float64", "training__optimizer": Sgd(), "training__rounds": 3}
CUTS = ["V1", "V2", "V3"]


@pytest.mark.parametrize("u_shaped", [False, True])
@pytest.mark.parametrize("cut", ["V1", "V2"])
def test_gradients_equal_copies_for_one_batch_one_epoch_and_plain_sgd(cut, u_shaped):
    shape = {"cut": cut, "tail": "fc1" if u_shaped else None, "training__batch_size": None, **EXACT}
    copies = play(toy(SplitFedV1(u_shaped), **shape))
    printed = play(toy(SplitFedV1(u_shaped, "gradients"), **shape))
    assert distance(copies.named, printed.named) < 1e-14
    assert distance(copies.named, copies.layout.named(copies.layout.initial())) > 1e-2


@pytest.mark.parametrize("changes", [{"training__batch_size": 4}, {"training__local_epochs": 2}], ids=str)
def test_gradients_are_not_copies_for_more_than_one_step(changes):
    shape = {"training__batch_size": None, **EXACT, **changes}
    assert (
        distance(play(toy(SplitFedV1(), **shape)).named, play(toy(SplitFedV1(False, "gradients"), **shape)).named)
        > 1e-4
    )


@pytest.mark.parametrize("cut", CUTS)
def test_gradients_are_the_plain_loop_of_algorithm_1(cut):
    scenario = toy(SplitFedV1(False, "gradients"), cut, training__local_epochs=2, training__server_lr=0.02, **EXACT)
    assert distance(play(scenario).named, by_hand(scenario, "round")) < 1e-13


@pytest.mark.parametrize("cut", CUTS)
def test_under_the_gradient_reading_clients_train_against_a_server_that_stands_still(cut):
    changes = {"training__local_epochs": 2, "training__rounds": 1}
    played = play(toy(SplitFedV1(False, "gradients"), cut, **changes))
    frozen = play(toy(SplitFedV2(), cut, training__server_lr=0, **changes))
    client = [name for name in played.named if not name.startswith(BODY[cut])]
    # the client portion is summed in another order: the shared server of V2 finishes clients in a random one
    assert distance({n: played.named[n] for n in client}, {n: frozen.named[n] for n in client}) < 1e-7
    assert distance(played.named, frozen.named) > 1e-3


@pytest.mark.parametrize("accumulate", ["mean", "sum"])
@pytest.mark.parametrize("cut", CUTS)
def test_accumulated_is_one_server_step_a_step_index(cut, accumulate):
    scenario = toy(SplitFedV1(False, "accumulated", accumulate), cut, training__server_lr=0.01, **EXACT)
    weight = {"mean": lambda size, union: size / union, "sum": lambda size, union: 1.0}[accumulate]
    assert distance(play(scenario).named, by_hand(scenario, "step", weight)) < 1e-13


def test_the_accumulated_mean_is_minibatch_sfl_bit_for_bit_and_the_sum_is_not():
    minibatch = play(toy(MiniBatchSfl()))
    assert play(toy(SplitFedV1(False, "accumulated"))).digest == minibatch.digest
    assert play(toy(SplitFedV1(False, "accumulated", "sum"))).digest != minibatch.digest


@pytest.mark.parametrize("reading", ["gradients", "accumulated"])
def test_a_shared_portion_sends_no_replicas(reading):
    sent = play(toy(SplitFedV1(reading=reading))).bytes_on()
    assert set(sent) == {"weights", "updates", "smashed", "cut_gradients"}
    copies = play(toy(SplitFedV1())).bytes_on()
    assert all(sent[channel] == copies[channel] for channel in sent)


def test_the_way_of_accumulating_belongs_to_that_reading():
    with pytest.raises(ScenarioError, match="belongs to reading='accumulated', but reading is 'copies'"):
        SplitFedV1(accumulate="sum")
