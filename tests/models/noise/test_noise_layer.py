"""The noise layer: its distribution, its names, and that every protocol, cut and host gives the same bits."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn
from torch.nn import functional

from raysplit import rng
from raysplit.analysis.cuts.cuts import compare_cuts
from raysplit.defenses.privacy.per_example_clipping import PerExampleClipping
from raysplit.engine.local import LocalEngine
from raysplit.errors import ScenarioError
from raysplit.models.keyed import key_layers, keyed_layers_in
from raysplit.models.network import build
from raysplit.models.noise.layer import NoiseLayer, noise_layers_in
from raysplit.models.noise.pixel_dp import PixelDp
from raysplit.population.opening import open_population
from raysplit.protocols.centralized import Centralized
from raysplit.protocols.cycle_sl import CycleSfl
from raysplit.protocols.extended_split import ExtendedSplit
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.minibatch_sfl import MiniBatchSfl
from raysplit.protocols.multi_task_split import MultiTaskSplit, Task
from raysplit.protocols.parallel_sl import ParallelSl
from raysplit.protocols.sglr import Sglr
from raysplit.protocols.split_learning import SplitLearning
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.protocols.splitfed_v3 import SplitFedV3
from raysplit.protocols.vertical_split import VerticalSplit
from tests.models.dropouts import DropoutCnn
from tests.models.test_dropout import TwoHosts
from tests.toys import ToyClients, ToyCnn, distance, play, toy


def noised(cut="V2", tail=None, after="conv1.0", epsilon=1.0, **options):
    return PixelDp(ToyCnn(cut, tail), epsilon, after, **{"bound": 0.5, "draws": 3, **options})


def run(protocol, cut="V2", tail=None, engine=None, model=None, **changes):
    scenario = toy(protocol, model=model or noised(cut, tail), **changes)
    return play(scenario, engine(scenario) if engine else None)


class Three:
    """A sensitivity of 3."""

    def of(self, outputs):
        return 3.0


@pytest.mark.parametrize(("mechanism", "law"), [("gaussian", stats.norm(0, 6)), ("laplace", stats.laplace(0, 6))])
def test_noise_has_the_law_and_the_scale_that_it_should(mechanism, law):
    layer = NoiseLayer(mechanism, 2.0, Three(), 1)
    key_layers([layer], 7, 1, 2, 3)
    noise = layer(torch.zeros(100, 200)).flatten().numpy()
    assert stats.kstest(noise, law.cdf).pvalue > 0.01
    assert abs(noise.std() - law.std()) < 5 * law.std() * math.sqrt(law.stats("k") + 2) / (2 * math.sqrt(noise.size))


def test_every_part_of_the_name_changes_the_noise_and_a_second_pass_meets_the_same():
    layer, x = NoiseLayer("gaussian", 1.0, Three(), 1), torch.zeros(4, 9)
    names = [(1, 1, 2, 3), (2, 1, 2, 3), (1, 2, 2, 3), (1, 1, 3, 3), (1, 1, 2, 4)]
    drawn = []
    for name in names:
        key_layers([layer], *name)
        drawn.append(layer(x))
        assert layer(x).equal(drawn[-1])
    assert len({tuple(noise.flatten().tolist()) for noise in drawn}) == len(names)


def test_a_layer_that_nobody_keyed_says_so_in_training_alone():
    network = build(noised(), 42)
    with pytest.raises(RuntimeError, match="whose step"):
        network(torch.rand(2, 1, 8, 8))
    network.eval()
    x = torch.rand(2, 1, 8, 8)
    assert network(x).equal(network(x))


@pytest.mark.parametrize(("cut", "precision"), [("V1", "float32"), ("V3", "float32"), ("V2", "float64")])
def test_sflv1_with_noise_is_fedavg_for_every_cut(cut, precision):
    changes = {"training__precision": precision, "clients": 3}
    whole, split = run(FedAvg(), **changes), run(SplitFedV1(), cut, **changes)
    assert whole.digest == split.digest
    assert whole.tables["evaluations"].column("loss") == split.tables["evaluations"].column("loss")


def test_noise_stands_anywhere_in_the_client_portion():
    """Before, within and after stages, by a paper's name too; each place, mechanism and seed gives another model."""
    short = {"clients": 2, "training__rounds": 1}
    models = [noised("V3", after=after) for after in (None, "conv1.0", "conv2.2", "fc1")]
    models += [noised("V3", after="V1"), noised("V3", after="conv1", mechanism="laplace"), ToyCnn("V3")]
    played = [run(SplitFedV2(), model=model, **short) for model in models]
    digests = {one.digest for one in played} | {run(SplitFedV2(), model=models[0], seed=43, **short).digest}
    assert len(digests) == len(models) + 1
    assert all(one.named.keys() == played[-1].named.keys() for one in played)
    assert run(SplitFedV2(), model=noised("V3", after="conv1"), **short).digest == played[4].digest


@pytest.mark.parametrize("protocol,tail", [(FedAvg(), None), (SplitFedV1(u_shaped=True), "fc1")], ids=repr)
def test_who_hosts_a_client_changes_no_noise(protocol, tail):
    alone = run(protocol, "V1", tail)
    hosted = run(protocol, "V1", tail, lambda scenario: TwoHosts(scenario, lambda group: group % 2))
    assert hosted.digest == alone.digest
    assert hosted.tables["evaluations"].column("loss") == alone.tables["evaluations"].column("loss")
    if protocol.server != "none":
        apart = run(protocol, "V1", tail, lambda scenario: TwoHosts(scenario, lambda group: group % 2, 2))
        assert apart.digest == alone.digest


ONE = {"clients": 1, "population": ToyClients(1, smallest=11), "training__client_state": "fresh", "training__rounds": 1}


@pytest.fixture(scope="module")
def central():
    return run(Centralized(), **ONE).digest


@pytest.mark.parametrize(
    "protocol,tail",
    [
        (SplitLearning(), None),
        (SplitFedV2(u_shaped=True), "fc1"),
        (MiniBatchSfl(), None),
        (Sglr(synchronise=True), None),
    ],
    ids=repr,
)
def test_with_one_client_every_protocol_with_noise_is_centralised_training(central, protocol, tail):
    assert run(protocol, "V1", tail, training__server_state="fresh", **ONE).digest == central


@pytest.mark.parametrize(
    "protocol,tail",
    [
        (SplitFedV3(), None),
        (ParallelSl(), None),
        (CycleSfl(), None),
        (ExtendedSplit(), "conv2"),
        (MultiTaskSplit((Task("class"), Task("class again"))), None),
    ],
    ids=repr,
)
def test_other_protocols_train_and_predict_the_same_twice(protocol, tail):
    short = {"clients": 2, "training__rounds": 1}
    first, again = run(protocol, "V1", tail, **short), run(protocol, "V1", tail, **short)
    assert again.digest == first.digest
    assert again.tables["evaluations"].column("loss") == first.tables["evaluations"].column("loss")


def test_a_round_is_a_plain_loop_with_noise_written_out():
    """One client, centralised: x + σΔZ after the first convolution with Δ its largest singular value on the torus."""
    scenario = toy(Centralized(), model=noised(), clients=1, population=ToyClients(1, smallest=11), training__rounds=1)
    played, network = play(scenario), build(scenario.model, scenario.seed)
    samples = open_population(scenario.population).train(0)
    plain = build(ToyCnn(), scenario.seed)
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)
    batching = scenario.training.batching
    for step in range(-(-len(samples.y) // 4)):
        index = torch.from_numpy(batching.indices(scenario.seed, 1, 0, step, len(samples.y)))
        x = (samples.x[index].float() / 255).contiguous(memory_format=torch.channels_last)
        kernel = torch.fft.fft2(plain.conv1[0].weight.detach().double(), s=(10, 10)).permute(2, 3, 0, 1)
        sigma = math.sqrt(2 * math.log(1.25 / 0.05)) * 0.5 * float(torch.linalg.svdvals(kernel).max())
        made = plain.conv1[0](x)
        noise = torch.randn(made.shape, generator=rng.torch_stream(scenario.seed, "pixeldp_noise", 1, 0, step))
        z = plain.conv1[2](plain.conv1[1](made + sigma * noise))
        loss = functional.cross_entropy(plain.fc2(plain.fc1(plain.conv2(z))), samples.y[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    trained = dict(zip(plain.state_dict(), plain.parameters(), strict=True))
    assert set(trained) == set(played.named) == set(network.state_dict())
    assert max(float((trained[name] - played.named[name]).abs().max().detach()) for name in trained) < 1e-6


def test_evaluation_is_the_mean_softmax_of_a_plain_loop_over_draws():
    scenario = toy(SplitFedV1(), model=noised(draws=7), training__rounds=1)
    played = play(scenario)
    population, ids = open_population(scenario.population), np.arange(6)
    tests = [population.test(int(client)) for client in ids]
    x, y = torch.cat([test.x for test in tests]).float() / 255, torch.cat([test.y for test in tests])
    plain = build(ToyCnn(), 1)
    plain.load_state_dict(played.named)
    bound = noise_layers_in([build(scenario.model, 1)])[0]
    with torch.no_grad():
        bound.sensitivity.layers[0].weight.copy_(plain.conv1[0].weight)
        scale = bound.scale_per_sensitivity * bound.sensitivity.of(x)
        mean = torch.zeros(len(y), 5)
        for draw in range(7):
            made = plain.conv1[0](x)
            stream = rng.torch_stream(scenario.seed, "pixeldp_evaluation", 0, 0, draw)
            z = plain.conv1[2](plain.conv1[1](made + scale * torch.randn(made.shape, generator=stream)))
            mean += plain.fc2(plain.fc1(plain.conv2(z))).softmax(1) / 7
    [row] = [row for row in played.tables["evaluations"].to_pylist() if row["split"] == "test"]
    assert row["accuracy"] == float((mean.argmax(1) == y).double().mean())
    assert row["loss"] == pytest.approx(float(-mean[range(len(y)), y].log().mean()), abs=1e-5)
    with LocalEngine(scenario) as engine:  # evaluating changes nothing of what is trained or evaluated next
        first = engine.evaluate(ids, played.state.client, played.state.server)
        assert first.loss.tolist() == engine.evaluate(ids, played.state.client, played.state.server).loss.tolist()


def test_the_same_weights_are_drawn_as_without_noise_and_no_parameter_is_added():
    with_noise, without = build(noised(), 42), build(ToyCnn("V2"), 42)
    assert with_noise.state_dict().keys() == without.state_dict().keys()
    assert all(with_noise.state_dict()[name].equal(tensor) for name, tensor in without.state_dict().items())
    assert len(keyed_layers_in([with_noise])) == 1 and noised().cut == "V2"
    assert isinstance(with_noise.conv1, nn.Sequential) and list(with_noise.conv1._modules)[1] == "pixel_dp"


REFUSED = {
    "behind the cut": lambda: toy(SplitFedV1(), model=noised("V1", after="conv2")),
    "cuts samples among parties": lambda: toy(VerticalSplit(parties=2), model=noised("V1")),
    "at most 1": lambda: noised(epsilon=1.5),
    "length above 0": lambda: noised(bound=0.0),
    "between 0 and 1": lambda: noised(delta=1.0),
    "without an attack bound": lambda: noised(form="thapa2022"),
    "one noise layer": lambda: PixelDp(noised(), 1.0, None),
    "did you mean 'conv1'": lambda: noised(after="con1"),
    "has no '7'": lambda: noised(after="conv1.7"),
    "has Dropout2d": lambda: PixelDp(DropoutCnn(), 1.0, "conv1"),
    "has BatchNorm2d": lambda: PixelDp(ToyCnn(batch_norm=True), 1.0, "conv1", sensitivity="measured"),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_cannot_be_meant_is_refused(sentence):
    with pytest.raises(ScenarioError, match=sentence):
        REFUSED[sentence]()


@pytest.mark.parametrize("after", ["conv1.0", "conv2"])
def test_clipping_single_samples_sees_the_noise_of_the_step(after):
    """A clip that nobody reaches and next to no noise: the gradients of the mean loss, with the step's own noise."""
    loose = PerExampleClipping(1e6, 1e-12, server_portion="open", weights="samples", guarantee=False)
    whole_batches = {"clients": 1, "population": ToyClients(1, smallest=8), "model": noised(after=after)}
    clipped, plain = run(SplitFedV1(), privacy=loose, **whole_batches), run(SplitFedV1(), **whole_batches)
    assert distance(clipped.named, plain.named) < 1e-5


def test_cuts_before_the_noise_are_left_out_of_the_comparison():
    table = compare_cuts(toy(SplitFedV2(), model=noised("V2", after="conv2")))
    assert [cut.cut for cut in table.cuts] == ["conv2", "fc1"]
    assert table.left_out == (("conv1", "would put the noise layer behind the cut"),)
