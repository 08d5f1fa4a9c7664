"""Label differential privacy: the probabilities, drawn once, in every protocol."""

import math

import pytest
import torch

from raysplit import Cohort, LabelFlip, RandomisedResponse
from raysplit.channels.channel import Channel
from raysplit.channels.hooks import MessageHook
from raysplit.defenses.messages.labels import released
from raysplit.defenses.messages.message_defense import DefenseView
from raysplit.population.population import Samples
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.splitfed_v2 import SplitFedV2
from tests.toys import play, toy


def test_every_answer_has_the_probability_of_randomised_response():
    n, classes, epsilon = 200_000, 4, 1.0
    defense = RandomisedResponse(epsilon=epsilon)
    made = defense.released(torch.full((n,), 2), DefenseView(classes, torch.Generator().manual_seed(0)))
    stays = math.exp(epsilon) / (math.exp(epsilon) + classes - 1)
    found = made.bincount(minlength=classes) / n
    for label in range(classes):
        expected = stays if label == 2 else (1 - stays) / (classes - 1)
        assert float(found[label]) == pytest.approx(expected, abs=4 * math.sqrt(0.25 / n))
    assert stays / ((1 - stays) / (classes - 1)) == pytest.approx(math.exp(epsilon))  # ε is what it says


class Labels(MessageHook):
    party = "main_server"
    channels = frozenset({Channel.SMASHED})

    def observe(self, message, labels):
        return {"labels": labels}


def test_a_label_is_the_same_in_every_round_and_epoch():
    scenario = toy(
        SplitFedV2(), training__rounds=3, training__batch_size=None, message_defenses=(RandomisedResponse(epsilon=0.5),)
    )
    played = play(scenario, hooks=(Labels(),))
    by_client = {}
    for seen in played.observations:
        by_client.setdefault(seen.client, []).append(seen.tensors["labels"])
    moved = 0
    for client, sent in by_client.items():
        own = scenario.population.open().train(client)
        assert len(sent) == 3 and all(labels.sort().values.equal(sent[0].sort().values) for labels in sent)
        wanted = released(scenario.message_defenses, own, client, 5, scenario.seed)
        assert sent[0].sort().values.equal(wanted.y.sort().values)
        moved += int((wanted.y != own.y).sum())
    assert moved > 10


def test_large_epsilon_changes_nothing_and_a_small_one_does_without_any_messages_too():
    for protocol, cut in ((FedAvg(), None), (SplitFedV2(), "V2")):
        plain, almost, much = (
            play(toy(protocol, cut, message_defenses=defenses)).digest
            for defenses in ((), (RandomisedResponse(epsilon=50.0),), (RandomisedResponse(epsilon=0.1),))
        )
        assert plain == almost != much


def test_test_labels_and_those_of_malicious_clients_stay():
    own = Samples(torch.zeros(9, 1), torch.arange(9) % 5)
    assert released((), own, 0, 5, 1) is own
    scenario = toy(SplitFedV2(), cohort=Cohort(6, malicious=0.9, of="population"), attack=LabelFlip())
    defended = scenario.replace(message_defenses=(RandomisedResponse(epsilon=0.1),))
    one, other = (play(s, hooks=(Labels(),)).observations for s in (scenario, defended))
    same = [torch.equal(a.tensors["labels"], b.tensors["labels"]) for a, b in zip(one, other, strict=True)]
    assert sum(same) > len(same) / 2 and not all(same)
