"""Label inference: exact cases, equal to loops that are written out here, and what no attack can know."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from raysplit import (
    Adversary,
    ClusterLabels,
    DirectionLabels,
    GradientMatchingLabels,
    ModelCompletion,
    NormLabels,
    ParallelSl,
    SignLabels,
    SplitFedV1,
    SplitFedV2,
    SplitLearning,
)
from raysplit.analysis.scores.labels import label_accuracy, leak_auc, permuted_accuracy
from raysplit.attacks.inference.inference_attack import check_adversary
from raysplit.channels.channel import Channel
from raysplit.errors import ScenarioError
from raysplit.scenario.scenario import Scenario
from tests.attacks.inference.labels import World, world
from tests.toys import toy

ATTACKS = [
    NormLabels(),
    NormLabels(channel="cut_gradients"),
    DirectionLabels(),
    DirectionLabels(channel="cut_gradients", known=2),
    ClusterLabels(),
    ClusterLabels(channel="smashed", known=1),
    GradientMatchingLabels(),
    GradientMatchingLabels(form="protocol"),
    GradientMatchingLabels(form="protocol", true_tail=True),
    SignLabels(),
    ModelCompletion(steps=2),
    ModelCompletion(steps=2, channel="smashed", unlabelled=0.0),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
def test_a_label_attack_runs_on_what_it_declares_and_on_nothing_less(attack):
    shown, protocol = world(12, 2), SplitFedV2(u_shaped=True)
    least = {channel: tensor for channel, tensor in shown.messages().items() if channel in attack.reads}
    found = attack.infer(shown.seen(attack, least), shown.knowledge(attack))
    assert (found.labels is None) != (found.positive_scores is None)
    assert len(found.labels if found.labels is not None else found.positive_scores) == 12
    whole = Adversary(knows=tuple(sorted(attack.needs)))
    check_adversary(attack, whole, protocol)
    for fact in attack.needs:
        with pytest.raises(ScenarioError, match=f"needs to know '{fact}'"):
            check_adversary(attack, Adversary(knows=tuple(sorted(attack.needs - {fact}))), protocol)
    for channel in attack.reads:
        with pytest.raises(ScenarioError, match=r"reads '.*', which fed_server of SplitFedV2 does not hold"):
            check_adversary(attack, Adversary(("fed_server",), whole.knows), protocol)
        with pytest.raises(ScenarioError, match=f"reads '{channel.value}', which was not observed"):
            attack.infer(shown.seen(attack, {c: t for c, t in least.items() if c != channel}), shown.knowledge(attack))


@pytest.mark.parametrize("attack", [NormLabels(), ClusterLabels()], ids=repr)
def test_what_an_attack_does_not_declare_it_does_not_get(attack):
    shown = world(12, 2)
    knowledge, observed = shown.knowledge(attack), shown.seen(attack)
    for take in (
        lambda: knowledge.known_labels(1),
        knowledge.untrained_tail,
        knowledge.tail_gradients,
        lambda: observed.on(Channel.FEATURES),
    ):
        with pytest.raises(ScenarioError, match="does not declare"):
            take()
    assert knowledge.told == set()


def test_no_party_holds_the_weight_gradients_of_a_clients_tail():
    together = Adversary(("main_server", "fed_server", "client"))
    assert "tail_gradients" not in together.facts(SplitFedV2(u_shaped=True))
    with pytest.raises(ScenarioError, match="needs to know 'tail_gradients'"):
        check_adversary(GradientMatchingLabels(), together, SplitFedV2(u_shaped=True))


def test_where_labels_travel_there_is_no_tail_to_attack():
    attack = GradientMatchingLabels(form="protocol")
    with pytest.raises(ScenarioError, match="reads 'feature_gradients', which main_server of SplitLearning"):
        check_adversary(attack, Adversary(knows=("architecture",)), SplitLearning())


@pytest.mark.parametrize("classes", [2, 5, 10])
@pytest.mark.parametrize("batch", [1, 6])
def test_gradients_behind_an_untrained_last_layer_cluster_by_label(classes, batch):
    shown = world(200, classes, batch=batch)
    found = shown.attacked(ClusterLabels())
    assert found.labels_up_to_permutation
    assert permuted_accuracy(found.labels, shown.labels, classes) > 0.98
    named = shown.attacked(ClusterLabels(known=1))
    assert not named.labels_up_to_permutation and label_accuracy(named.labels, shown.labels) > 0.98


def permuted(shown: World, order: torch.Tensor) -> World:
    """The world in which class c is called order[c]: labels, and the rows of the tail's last layer."""
    tail = copy.deepcopy(shown.tail)
    with torch.no_grad():
        tail[-1].weight[order], tail[-1].bias[order] = shown.tail[-1].weight.clone(), shown.tail[-1].bias.clone()
    return replace(shown, tail=tail, labels=order[shown.labels])


@pytest.mark.parametrize("attack", [ClusterLabels(), GradientMatchingLabels(form="protocol")], ids=repr)
@pytest.mark.parametrize("hidden", [None, 7])
def test_what_a_server_sees_does_not_tell_how_classes_are_called(attack, hidden):
    """So without a known label nothing is right more often than a naming by lot: the best naming is all there is."""
    shown = world(40, 5, hidden)
    other = permuted(shown, torch.tensor([3, 0, 4, 2, 1]))
    assert torch.allclose(shown.feature_gradients(), other.feature_gradients(), atol=1e-14)
    assert shown.attacked(attack).labels.equal(other.attacked(attack).labels)


def test_of_two_classes_directions_tell_all():
    shown = world(50, 2, batch=5)
    attack = DirectionLabels()
    found = shown.attacked(attack)
    assert found.positive_scores.abs().allclose(torch.ones(50, dtype=torch.float64))
    assert leak_auc(found.positive_scores, shown.labels == 1) == 1
    many = world(200, 8)
    assert leak_auc(many.attacked(DirectionLabels(positive=6)).positive_scores, many.labels == 6) > 0.99


def test_norms_are_one_minus_the_true_class_probability_whatever_the_batch():
    shown = world(50, 2)
    weight = shown.tail[0].weight
    right = shown.tail(shown.features).softmax(1)[torch.arange(50), shown.labels]
    by_hand = (1 - right) * (weight[0] - weight[1]).norm()
    for batch in (1, 5):
        found = replace(shown, batch=batch).attacked(NormLabels())
        assert found.positive_scores.allclose(by_hand) and found.positive_class == 1


def published_loop(shown: World, name: str, clone: nn.Module, lr: float) -> list[int]:
    """UnSplit's label inference as the public code goes: candidate gradients of one parameter, argmin of MSE, a step of
    the clone on the label found; the client's own gradients are given."""
    optimizer = torch.optim.Adam(clone.parameters(), lr=lr, amsgrad=True)
    given = shown.tail_gradients()[name]
    labels = []
    for index, h in enumerate(shown.features.split(1)):
        errors = []
        for label in range(clone(h).shape[1]):
            clone.zero_grad()
            functional.cross_entropy(clone(h), torch.tensor([label])).backward()
            errors.append(float(functional.mse_loss(dict(clone.named_parameters())[name].grad, given[index])))
        labels.append(errors.index(min(errors)))
        optimizer.zero_grad()
        functional.cross_entropy(clone(h), torch.tensor([labels[-1]])).backward()
        optimizer.step()
    return labels


@pytest.mark.parametrize(
    ("hidden", "compared", "name"), [(None, None, "0.weight"), (7, "0.weight", "0.weight"), (7, None, "2.weight")]
)
def test_gradient_matching_equals_the_published_loop(hidden, compared, name):
    shown = world(20, 5, hidden)
    found = shown.attacked(GradientMatchingLabels(compared=compared, lr=0.01))
    assert found.labels.tolist() == published_loop(shown, name, copy.deepcopy(shown.fresh), 0.01)


def test_weight_gradients_of_one_dense_layer_give_every_label():
    shown = world(100, 10)
    assert label_accuracy(shown.attacked(GradientMatchingLabels()).labels, shown.labels) == 1


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("hidden", [None, 7])
def test_the_sign_of_weight_gradients_gives_every_label_at_any_depth_and_however_trained(hidden, bias):
    shown = world(60, 10, hidden)
    with torch.no_grad():
        for parameter in shown.tail.parameters():
            parameter *= 10  # as sure of itself as a trained one, and mostly wrong
    if not bias:
        shown.tail[-1].bias = None
    assert label_accuracy(shown.attacked(SignLabels()).labels, shown.labels) == 1


@pytest.mark.parametrize("hidden", [None, 7])
def test_one_client_gives_the_main_server_everybodys_labels_where_tails_are_shared(hidden):
    attack, shown = GradientMatchingLabels(form="protocol", true_tail=True), world(60, 5, hidden, batch=4)
    before = copy.deepcopy(shown.tail.state_dict())
    assert label_accuracy(shown.attacked(attack).labels, shown.labels) == 1
    assert all(tensor.equal(before[name]) for name, tensor in shown.tail.state_dict().items())
    together = Adversary(("main_server", "client"))
    for protocol in (SplitFedV1(u_shaped=True), SplitFedV2(u_shaped=True), SplitLearning(u_shaped=True)):
        check_adversary(attack, together, protocol)
        with pytest.raises(ScenarioError, match="needs to know 'client_weights'"):
            check_adversary(attack, Adversary(), protocol)
    with pytest.raises(ScenarioError, match="needs to know 'client_weights'"):
        check_adversary(attack, together, ParallelSl(u_shaped=True))


def test_a_tail_that_is_the_loss_alone_gives_every_label_away():
    shown = world(30, 12, batch=4)
    bare = replace(shown, tail=nn.Sequential(), fresh=nn.Sequential())
    assert label_accuracy(bare.attacked(GradientMatchingLabels(form="protocol")).labels, shown.labels) == 1
    with pytest.raises(ScenarioError, match="the client's tail has no parameters"):
        bare.attacked(GradientMatchingLabels())
    with pytest.raises(ScenarioError, match="has no parameters"):
        bare.attacked(SignLabels())


def test_a_parameter_that_the_tail_does_not_have_is_named():
    with pytest.raises(ScenarioError, match=r"compares 'fc9.weight', but the client's tail has 0.weight, 0.bias"):
        world(4).attacked(GradientMatchingLabels(compared="fc9.weight"))


def test_a_head_on_features_that_tell_classes_apart_needs_one_label_a_class():
    shown = world(120, 4)
    centres = torch.randn(4, 12, dtype=torch.float64)
    apart = replace(shown, features=centres[shown.labels] + 0.2 * shown.features)
    for attack in (ModelCompletion(), ModelCompletion(unlabelled=0.0)):
        assert label_accuracy(apart.attacked(attack).labels, shown.labels) > 0.98


def test_known_labels_are_counted_and_are_the_same_for_every_attack():
    shown = world(60, 5)
    told = []
    for attack in (ClusterLabels(known=2), ModelCompletion(known=2, steps=1)):
        knowledge = shown.knowledge(attack)
        attack.infer(shown.seen(attack), knowledge)
        told.append(knowledge.told)
        assert shown.labels[sorted(knowledge.told)].bincount().tolist() == [2] * 5
    assert told[0] == told[1]


def test_as_many_clusters_as_samples_are_refused():
    with pytest.raises(ScenarioError, match="10 clusters in 12 samples, where nearly any naming fits"):
        world(12, 10).attacked(ClusterLabels())


def test_a_class_that_was_not_observed_is_no_known_one():
    shown = world(30, 5)
    shown = replace(shown, labels=shown.labels % 3)
    assert set(shown.attacked(ClusterLabels(known=1)).labels.tolist()) <= {0, 1, 2}
    with pytest.raises(ScenarioError, match="needs a known sample of class 4, but none was observed"):
        shown.attacked(DirectionLabels(positive=4))


@pytest.mark.parametrize(
    ("attack", "scenario", "words"),
    [
        (SignLabels(), toy(SplitFedV2(u_shaped=True), tail="fc1"), "one sample, but Training.batch_size is 4"),
        (NormLabels(), toy(SplitFedV2(u_shaped=True), tail="fc1"), "two classes apart .* but ToyCnn has 5"),
        (
            GradientMatchingLabels(),
            toy(SplitFedV2(u_shaped=True), tail="fc1"),
            "one sample, but Training.batch_size is 4; train with batch_size=1 or use form='protocol'",
        ),
    ],
)
def test_what_an_attack_requires_of_a_scenario_is_said(attack, scenario: Scenario, words):
    with pytest.raises(ScenarioError, match=words):
        for requirement in attack.requires:
            requirement.check(attack, scenario.setting)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: NormLabels(positive=2),
        lambda: DirectionLabels(known=0),
        lambda: ClusterLabels(known=-1),
        lambda: GradientMatchingLabels(lr=-1.0),
        lambda: GradientMatchingLabels(form="protocol", compared="fc3.weight"),
        lambda: GradientMatchingLabels(true_tail=True),
        lambda: ModelCompletion(known=0),
        lambda: ModelCompletion(unlabelled=-1.0),
    ],
)
def test_arguments_of_label_attacks_out_of_range_are_refused(wrong):
    with pytest.raises(ScenarioError):
        wrong()
