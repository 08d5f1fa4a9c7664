"""What a network may not do where it is cut is one sentence, before anything is trained."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from raysplit.aggregation.rules.median import Median
from raysplit.attacks.messages.ascent import SmashedAscent
from raysplit.attacks.updates.sign_flip import SignFlip
from raysplit.errors import ScenarioError, UserError
from raysplit.models.network import build
from raysplit.models.sequential import sequential
from raysplit.population.selection.cohort import Cohort
from raysplit.protocols.extended_split import ExtendedSplit
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.multi_task_split import MultiTaskSplit, Task
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.scenario.layout import Layout
from raysplit.scenario.network_check import check_network
from tests.toys import FrozenCnn, ToyCnn, play, toy


class Pass(nn.Module):
    """A layer that does what it is told."""

    def __init__(self, does):
        super().__init__()
        self.does = does

    def forward(self, x):
        return self.does(x)


def adds(x):
    x += 1
    return x


def network(head=(), body=(), width=5, frozen=()):
    stages = [
        ("a", nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), *head)),
        ("b", nn.Sequential(*body, nn.Flatten(), nn.Linear(128, 8))),
        ("c", nn.Linear(8, width)),
    ]
    for name, stage in stages:
        if name in frozen:
            stage.requires_grad_(False)
    return stages


def model(tail=None, cut="a", **options):
    def make():
        return network(**options)

    return sequential(make, (1, 8, 8), 5, cut=cut, tail=tail)


def checked(protocol, of, **changes):
    scenario = toy(protocol, model=of, **changes)
    check_network(scenario, Layout(scenario))


def sentence(protocol, of, **changes):
    with pytest.raises(ScenarioError) as caught:
        checked(protocol, of, **changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


TUPLE = {"head": [Pass(lambda x: (x, x))], "body": [Pass(lambda x: x[0] + x[1])]}


def test_a_tuple_at_the_cut_is_refused_and_one_within_a_portion_is_not():
    said = sentence(SplitFedV1(), model(**TUPLE))
    assert said == (
        "Sequential's stage 'a' gives a tuple, but one tensor crosses a cut; return one tensor, such as torch.cat of "
        "them, or cut elsewhere"
    )
    checked(FedAvg(), model(**TUPLE))
    checked(SplitFedV1(), model(cut="b", **TUPLE))
    assert "'a' gives a tuple" in sentence(SplitFedV2(u_shaped=True), model("b", **TUPLE))


@pytest.mark.parametrize("layer", [adds, lambda x: functional.relu(x, inplace=True), lambda x: x.view_as(x).mul_(2)])
@pytest.mark.parametrize(
    "protocol", [SplitFedV1(), SplitFedV2(u_shaped=True), MultiTaskSplit((Task("one"), Task("two")))]
)
def test_what_writes_into_the_other_partys_tensor_is_refused(layer, protocol):
    said = sentence(protocol, model("c" if protocol.u_shaped else None, body=[Pass(layer)]))
    assert said.startswith(
        "Sequential's stage 'b' writes into its input, which behind a cut is what another party sent"
    )


def test_what_the_second_client_of_an_extended_split_writes_into_is_refused():
    def make():
        return [*network(body=[Pass(adds)]), ("d", nn.Linear(5, 5))]

    assert "'b' writes into its input" in sentence(ExtendedSplit(), sequential(make, (1, 8, 8), 5, cut="a", tail="c"))


def test_in_place_operations_within_a_portion_train_as_they_do_in_torch():
    inside = model(body=[Pass(lambda x: adds(x * 2))])
    apart = model(body=[Pass(lambda x: x * 2 + 1)])
    assert play(toy(SplitFedV1(), model=inside)).digest == play(toy(SplitFedV1(), model=apart)).digest
    said = sentence(FedAvg(), model(head=[nn.Tanh(), Pass(adds)]))
    assert said.startswith(
        "Sequential's a to c cannot be trained: one of the variables needed for gradient computation"
    )


@pytest.mark.parametrize("protocol", [FedAvg(), SplitFedV1()])
def test_logits_of_another_width_than_the_classes_are_refused(protocol):
    said = sentence(protocol, model(width=3))
    assert said == "Sequential tells 5 classes apart, but its last stage gives [3] numbers a sample, not [5]"
    checked(protocol, model(width=7))


def test_a_portion_that_is_to_be_trained_must_get_gradients():
    detached = sentence(SplitFedV1(), model(head=[Pass(torch.Tensor.detach)]))
    assert detached.startswith("Sequential's a is to be trained, but no gradient reaches its parameters")
    blocked = sentence(SplitFedV1(), model(body=[Pass(torch.Tensor.detach)]))
    assert blocked.startswith("Sequential's b to c lets no gradient through to the stages before it")
    checked(SplitFedV1(), model(frozen=("a",), head=[Pass(torch.Tensor.detach)], body=[Pass(torch.Tensor.detach)]))
    assert "so there is nothing to train" in sentence(SplitFedV1(), model(frozen=("a", "b", "c")))


def test_a_head_that_passes_no_gradients_and_is_frozen_trains():
    played = play(toy(SplitFedV1(), model=model(frozen=("a",), head=[Pass(torch.Tensor.detach)])))
    assert "cut_gradients" not in played.messages_on()


def test_a_parameter_that_the_cut_would_part_is_refused():
    def make():
        tied = nn.Linear(8, 8)
        return [("a", nn.Sequential(nn.Flatten(), nn.Linear(64, 8), tied)), ("b", tied), ("c", nn.Linear(8, 5))]

    for cut, fits in (("a", False), ("b", True)):
        scenario = toy(SplitFedV1(), model=sequential(make, (1, 8, 8), 5, cut=cut))
        if fits:
            Layout(scenario)
            continue
        with pytest.raises(ScenarioError, match=r"'2\.weight|'a\.2\.weight' and 'b\.weight' are one parameter"):
            Layout(scenario)


@pytest.mark.parametrize(
    "frozen,changes,said",
    [
        (
            ("conv1", "conv2"),
            {"defense": Median()},
            "Median acts on updates, but all parameters of FrozenCnn that they",
        ),
        (("fc1", "fc2"), {"server_defense": Median()}, "Median acts on server_updates, but all parameters"),
        (
            ("conv1", "conv2"),
            {"attack": SignFlip()},
            "SignFlip's threat model names the channel 'updates', over which nothing goes",
        ),
        (("conv1", "conv2"), {"attack": SmashedAscent()}, "names the channel 'cut_gradients', over which nothing goes"),
        (("conv1", "conv2"), {"record_updates_every": 1}, "Scenario.record_updates_every keeps updates, but all param"),
    ],
)
def test_what_would_act_on_what_frozen_portions_do_not_send_is_refused(frozen, changes, said):
    of = FrozenCnn("conv2", frozen=frozen)
    assert said in sentence(SplitFedV1(), of, cohort=Cohort(6, 0.34), **changes)
    checked(SplitFedV1(), ToyCnn(), cohort=Cohort(6, 0.34), **changes)


class Counts(nn.Module):
    def __init__(self, dtype=torch.long):
        super().__init__()
        self.register_buffer("seen", torch.zeros((), dtype=dtype))

    def forward(self, x):
        if self.training:
            self.seen += 1
        return x * (1 + self.seen)


class Remembers(nn.Module):
    """A plain attribute of its own."""

    last = 0.0

    def forward(self, x):
        self.last, before = x.detach().sum() + 1, self.last
        return x + before


class Moves(nn.Module):
    """A frozen parameter that follows, as momentum encoders do; ``past``: so that torch does not count it."""

    def __init__(self, past):
        super().__init__()
        self.past, self.mean = past, nn.Parameter(torch.ones(1), requires_grad=False)

    def forward(self, x):
        with torch.no_grad():
            (self.mean.data if self.past else self.mean).mul_(0.5)
        return x * self.mean


@pytest.mark.parametrize(
    "layer,said",
    [
        (lambda: Counts(), "the network's 'a.1.seen' is a buffer of whole numbers, but a forward pass changes it"),
        (lambda: Remembers(), "Sequential's stage 'a' remembers what passed before"),
        (lambda: Moves(False), "'a.1.mean' is frozen (requires_grad=False), but a forward pass changes it"),
        (lambda: Moves(True), "'a.1.mean' is frozen (requires_grad=False), but a forward pass changes it"),
    ],
)
def test_what_forward_passes_change_past_a_portion_is_refused_when_the_network_is_built(layer, said):
    def make():
        return network(head=[layer()])

    with pytest.raises(ScenarioError) as caught:
        build(sequential(make, (1, 8, 8), 5), 1)
    assert said in str(caught.value)


def test_a_count_in_a_floating_buffer_travels_with_its_portion():
    floats = model(head=[Counts(torch.float32)])
    assert play(toy(SplitFedV1(), model=floats)).digest == play(toy(FedAvg(), model=floats)).digest


class CountsLate(Counts):
    """Two made-up samples do not show it."""

    def forward(self, x):
        if len(x) > 2:
            self.seen += 1
        return x


@pytest.mark.parametrize("protocol", [FedAvg(), SplitFedV1()])
def test_what_two_samples_do_not_show_is_refused_in_the_round_in_which_it_happens(protocol):
    with pytest.raises(UserError, match=r"round 1, client \d, .*'a\.1\.seen' is a buffer of whole numbers"):
        play(toy(protocol, model=model(head=[CountsLate()])))


def test_a_layer_without_a_size_is_named_with_the_size_that_it_would_get():
    def make():
        return [("a", nn.Conv2d(1, 2, 3)), ("b", nn.Sequential(nn.Flatten(), nn.LazyLinear(5)))]

    with pytest.raises(ScenarioError) as caught:
        toy(SplitFedV1(), model=sequential(make, (1, 8, 8), 5, cut="a"))
    assert str(caught.value) == (
        "Sequential's 'b.1' is LazyLinear, whose size comes only with its first batch; write "
        "nn.Linear(in_features=72, out_features=5, bias=True)"
    )
