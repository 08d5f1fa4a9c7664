"""LEAF's networks on texts: a stacked LSTM against its equations, cut everywhere, under every main protocol."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from raysplit.attacks.attack import CompositeAttack
from raysplit.attacks.data.backdoor import DistributedBackdoor, PixelBackdoor
from raysplit.attacks.data.label_flip import LabelFlip, TargetedLabelFlip
from raysplit.attacks.data.semantic import Brightness, SemanticBackdoor
from raysplit.attacks.messages.noise import SmashedNoise
from raysplit.costs.portions import cut_costs
from raysplit.engine.host import Host
from raysplit.errors import ScenarioError
from raysplit.models.bag_of_words import bag_of_words
from raysplit.models.describe import describe
from raysplit.models.network import build, cut
from raysplit.models.stacked_lstm import sent140_lstm, shakespeare_lstm
from raysplit.population.partition.feature_skew import NoiseLevels, Rotations
from raysplit.population.partition.iid import Iid
from raysplit.population.partition.partitioned import partitioned
from raysplit.protocols.centralized import Centralized
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.parallel_sl import ParallelSl
from raysplit.protocols.split_learning import SplitLearning
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.protocols.splitfed_v3 import SplitFedV3
from raysplit.protocols.vertical_split import VerticalSplit
from raysplit.training.gradient_rules import BackwardPass, MeanGradient
from raysplit.training.optimizers import Adam, Sgd
from tests.costs.test_traffic import assert_as_counted
from tests.models.texts import TextClients, lstm, plain_lstm, texts
from tests.toys import distance, play, weighted_average

CUTS = [("layer1", None), ("layer2", None), ("layer3", None), ("layer1", "lstm1"), ("layer2", "lstm2")]


def on_texts(protocol, model, **changes):
    return texts(FedAvg(), **changes).replace(model=model, protocol=protocol)


@pytest.mark.parametrize("units", [0, 7])
def test_the_network_is_the_lstm_of_its_equations(units):
    network = build(lstm(units=units), 42, torch.float64)
    weights = dict(network.named_parameters())
    x = TextClients().open().train(3).x
    ours, plain = network(x.double()), plain_lstm(weights, x[:, 0, 0].long())
    torch.testing.assert_close(ours, plain, rtol=1e-12, atol=1e-12)
    gradients = [torch.autograd.grad(y.square().sum(), list(weights.values())) for y in (ours, plain)]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "protocol,cut_name", [(FedAvg(), "layer2"), (SplitFedV1(), "layer1"), (SplitFedV1(), "layer3")]
)
def test_two_rounds_are_those_of_a_plain_loop(protocol, cut_name):
    """FedAvg by hand, with no network of ours in it: three full-batch SGD steps a client, then the weighted mean."""
    changes = {"training.batch_size": None, "training.local_epochs": 3, "training.lr": 0.5}
    changes |= {"training.optimizer": Sgd(), "training.precision": "float64"}
    scenario = texts(protocol, cut_name).replace(**changes)
    population = scenario.population.open()
    weights = {name: p.detach() for name, p in build(scenario.model, scenario.seed, torch.float64).named_parameters()}
    for _ in range(scenario.training.rounds):
        trained = []
        for client in range(4):
            x, y = population.train(client)
            own = {name: tensor.clone().requires_grad_() for name, tensor in weights.items()}
            for _ in range(3):
                loss = nn.functional.cross_entropy(plain_lstm(own, x[:, 0, 0].long()), y)
                gradients = torch.autograd.grad(loss, list(own.values()))
                with torch.no_grad():
                    for parameter, gradient in zip(own.values(), gradients, strict=True):
                        parameter -= 0.5 * gradient
            trained.append({name: tensor.detach() for name, tensor in own.items()})
        weights = weighted_average(trained, [n / 26 for n in (5, 6, 7, 8)])
    played = play(scenario)
    assert distance(played.named, weights) < 1e-12
    assert not played.diverged


@pytest.mark.parametrize("cut_name,tail", CUTS)
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_sflv1_on_texts_is_fedavg(cut_name, tail, dropout):
    split = play(on_texts(SplitFedV1(u_shaped=tail is not None), lstm(cut_name, tail, dropout=dropout, units=4)))
    assert split.digest == play(on_texts(FedAvg(), lstm(dropout=dropout, units=4))).digest


@pytest.mark.parametrize(
    "protocol", [SplitLearning(), SplitFedV2(), SplitFedV3(), ParallelSl(), Centralized()], ids=repr
)
def test_the_main_protocols_learn_texts(protocol):
    scenario = texts(protocol, training__rounds=10, training__lr=0.05, training__optimizer=Adam(), evaluation__every=10)
    losses = play(scenario).tables["rounds"].column("train_loss").to_pylist()
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("protocol", [SplitLearning(u_shaped=True), SplitFedV2(u_shaped=True)], ids=repr)
def test_labels_of_texts_need_not_leave_their_clients(protocol):
    played = play(texts(protocol, "layer1", "lstm1"))
    assert played.bytes_on()["smashed"] == (5 + 6 + 7 + 8) * 6 * 4 * 4  # embeddings: length 6, 4 numbers of 4 bytes
    assert not played.label_bytes_on() and not played.diverged


def test_the_numbers_of_tokens_stay_with_the_client():
    spec = lstm("layer1")
    portions = cut(build(spec, 1), spec, split=True, u_shaped=False)
    z = portions.head(TextClients().open().train(0).x.float())
    assert z.shape == (5, 6, 4) and z.is_floating_point() and z.is_contiguous()
    assert not [name for name, _ in portions.body.named_parameters() if name.startswith("embedding")]


def test_a_bag_of_words_counts_words_and_leaves_the_unknown_out():
    network = build(bag_of_words(tokens=9, length=6, classes=3, units=0, cut=None), 1, torch.float64)
    x = TextClients().open().train(2).x
    counts = nn.functional.one_hot(x[:, 0, 0].long(), 9).sum(1).double()
    counts[:, 0] = 0
    table = network.bag.table.weight
    torch.testing.assert_close(network(x.double()), counts @ table + network.bag.bias, rtol=1e-12, atol=1e-12)
    bag = bag_of_words(tokens=9, length=6, classes=3, units=5)
    assert play(on_texts(SplitFedV1(), bag)).digest == play(on_texts(FedAvg(), bag)).digest


def test_words_beyond_a_byte_are_whole_numbers_of_float32():
    scenario = on_texts(SplitFedV1(), lstm(units=3))
    wide = scenario.replace(population=TextClients(dtype="float32"))
    assert play(wide).digest == play(scenario).digest


def test_leafs_networks_have_leafs_sizes():
    """Caldas et al.'s code: an embedding of 8, two LSTMs of 256, 80 characters; of 100, 128 and 2 classes for tweets.
    TensorFlow's LSTM has 4 · hidden parameters fewer a layer."""
    parameters = [fact.parameters for fact in describe(shakespeare_lstm())]
    assert parameters == [80 * 8, 4 * 256 * (8 + 256 + 2), 4 * 256 * (512 + 2), 80 * 257]
    assert [fact.shape for fact in describe(shakespeare_lstm())] == [(80, 8), (80, 256), (256,), (80,)]
    words = [fact.parameters for fact in describe(sent140_lstm(tokens=50))]
    assert words == [5000, 400 * 202, 400 * 202, 128 * 101, 2 * 129]


def test_an_lstms_flops_are_two_matrices_a_token():
    flops = [fact.flops for fact in describe(lstm(units=2))]
    assert flops == [0, 6 * 2 * 20 * (4 + 5), 6 * 2 * 20 * (5 + 5), 2 * 5 * 2, 2 * 2 * 3]


def test_an_lstm_begins_as_leafs():
    network = build(lstm(), 7)
    bias = network.lstm1.lstm.bias_ih_l0
    assert bias.tolist() == [0] * 5 + [1] * 5 + [0] * 10 and not network.lstm1.lstm.bias_hh_l0.any()
    bound = (6 / (4 + 5 + 20)) ** 0.5
    assert 0.9 * bound < network.lstm1.lstm.weight_hh_l0.abs().max() <= bound


@pytest.mark.parametrize("attack", [LabelFlip(), TargetedLabelFlip(0, 1), SmashedNoise(1.0)], ids=repr)
def test_labels_and_smashed_data_of_texts_can_be_attacked(attack):
    scenario = texts(SplitFedV2(), cohort__malicious=0.5)
    clean, attacked = play(scenario), play(scenario.replace(attack=attack))
    assert attacked.digest != clean.digest and not attacked.diverged


@pytest.mark.parametrize(
    "attack,words",
    [
        (PixelBackdoor(target=0), "Patch is stamped on images, but StackedLstm reads packed graphs or texts"),
        (DistributedBackdoor(target=0), "Patch is stamped on images, but StackedLstm"),
        (CompositeAttack((LabelFlip(), PixelBackdoor(target=0))), "Patch is stamped on images, but StackedLstm"),
        (SemanticBackdoor(Brightness(high=0.4), target=0), "Brightness is a property of images, but StackedLstm"),
    ],
    ids=repr,
)
def test_attacks_on_pixels_refuse_texts(attack, words):
    with pytest.raises(ScenarioError, match=words):
        texts(FedAvg(), cohort__malicious=0.5).replace(attack=attack)


def test_a_token_that_the_table_lacks_is_named():
    with pytest.raises(ScenarioError, match=r"has the token \d+, but the model was told of 9 tokens, 0 to 8"):
        build(lstm(), 1)(torch.full((2, 1, 1, 6), 9.0))
    with pytest.raises(ScenarioError, match="has the token -1"):
        build(lstm(), 1)(torch.full((2, 1, 1, 6), -1.0))


def test_texts_have_no_width_and_are_no_pixels():
    with pytest.raises(ScenarioError, match="StackedLstm reads packed graphs or texts, which have no width"):
        texts(VerticalSplit(2))
    with pytest.raises(ScenarioError, match="StackedLstm reads packed graphs or texts byte by byte"):
        texts(FedAvg()).replace(pixels="unit")


@pytest.mark.parametrize("features", [NoiseLevels(0.1), Rotations(4)], ids=repr)
def test_texts_are_not_turned_and_get_no_noise(features):
    population = partitioned(TextClients(), Iid(), clients=4, features=features)
    with pytest.raises(
        ScenarioError, match="changes pixels, but StackedLstm reads packed graphs or texts; leave features"
    ):
        texts(FedAvg()).replace(population=population)


GLOVE = "the 0.5 -1 2\nof 1e-2 0 3\nto 4 5 6\nand 7 8 9\n"


def test_word_vectors_are_the_first_rows_and_their_file_is_in_the_hash(tmp_path):
    file = tmp_path / "glove.3d.txt"
    file.write_text(GLOVE)
    spec = sent140_lstm(tokens=4, length=6, embedding=str(file), dim=3, hidden=2)
    assert build(spec, 1).embedding.table.weight.tolist() == [
        [0, 0, 0],
        [0.5, -1, 2],
        [pytest.approx(0.01), 0, 3],
        [4, 5, 6],
    ]
    scenario = texts(FedAvg()).replace(**{"population": TextClients(tokens=4, classes=2), "model": spec})
    before = scenario.hash
    assert scenario.replace(seed=42).hash == before
    file.write_text(GLOVE.replace("0.5", "0.6"))
    assert scenario.replace(seed=42).hash != before


@pytest.mark.parametrize(
    "text,tokens,words",
    [
        (GLOVE, 9, "are of 4 words, but 8 are asked for"),
        ("the 1 2\nof 1 2\n", 3, "line 1 has 3 cells, not a word and 3 numbers"),
        ("the 1 2 3\nof 1 x 2\n", 3, "line 2 is not a word and its numbers"),
        ("the 1 2 3\nof 1 nan 2\n", 3, "line 2 has a number that is not finite"),
    ],
)
def test_other_files_are_no_word_vectors(tmp_path, text, tokens, words):
    file = tmp_path / "glove.txt"
    file.write_text(text)
    with pytest.raises(ScenarioError, match=words):
        build(sent140_lstm(tokens, embedding=str(file), dim=3), 1)


def test_a_missing_file_of_word_vectors_is_told_when_the_model_is_described():
    with pytest.raises(ScenarioError, match=r"there is no file of word vectors 'nowhere\.txt'"):
        sent140_lstm(embedding="nowhere.txt")


def test_one_layer_cannot_be_cut():
    with pytest.raises(ScenarioError, match=r"BagOfWords\(units=0\) is one layer, which nothing can cut"):
        bag_of_words(units=0)


@pytest.mark.parametrize("protocol", [FedAvg(), SplitFedV1(), SplitFedV2(u_shaped=True), SplitLearning()], ids=repr)
def test_bytes_of_texts_are_those_predicted(protocol):
    assert_as_counted(texts(protocol, "layer1", "lstm2" if protocol.u_shaped else None))


def test_flops_of_a_training_step_are_torchs():
    """In float64, where torch's counter sees an LSTM's products. It needs no gradient of the state before the first
    token, 2 · 4 · hidden² a sample and layer, which ours are more."""
    scenario = texts(SplitFedV2(), "layer2", training__precision="float64")
    host = Host(scenario)
    client, server = host.client_slots(1)[0], host.server_slots(1)[0]
    client.enter(client.flat.vector.clone(), None, 0.1)
    server.enter(server.flat.vector.clone(), None, 0.1)
    x, y = TextClients().open().train(0).x.double(), torch.zeros(5, dtype=torch.int64)
    with FlopCounterMode(display=False) as clients:
        z = client.forward(x)
    with FlopCounterMode(display=False) as servers:
        gradient, _ = server.whole_step(z.detach(), y)
    with FlopCounterMode(display=False) as back:
        MeanGradient().gradients(client, BackwardPass(x, y, z, gradient))
    costs = cut_costs(scenario)
    unneeded = 5 * 2 * 4 * 5 * 5
    assert clients.get_total_flops() + back.get_total_flops() == 5 * costs.client_step - unneeded
    assert servers.get_total_flops() == 5 * costs.body.step - unneeded
