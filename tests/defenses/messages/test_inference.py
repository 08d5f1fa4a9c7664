"""What inference attacks get of defended messages: queries and messages go through the defences, weights do not."""

import pytest
import torch

import raysplit
from raysplit import QueryDecoder, TopK
from raysplit.attacks.inference.decoders import DecoderTraining
from raysplit.contracts import Channel, InferenceAttack, Reconstruction
from raysplit.defenses.messages.message_defense import SmashedDefense
from raysplit.parts.part import part
from raysplit.protocols.splitfed_v2 import SplitFedV2
from tests.toys import toy


@part
class Counted(SmashedDefense):
    """Smashed data are one number, drawn anew for every message."""

    def sent(self, z, view):
        return torch.rand(1, generator=view.draw).expand_as(z) + 0 * z


@part
class Looks(InferenceAttack):
    """Returns nothing of worth, and asks about everything that it may."""

    goal = "inputs"
    reads = frozenset({Channel.SMASHED})
    needs = frozenset({"queries", "client_weights", "auxiliary_data"})

    def infer(self, observed, knowledge):
        x = knowledge.auxiliary().x[:3]
        answers = [knowledge.query(x), knowledge.query(x)]
        clean = knowledge.client_portion()(x)
        SEEN.append((observed.on(Channel.SMASHED), answers, clean, x))
        return Reconstruction(inputs=torch.zeros(len(observed), *knowledge.input_shape))


SEEN: list = []


@pytest.mark.parametrize("round", [None, 2])
def test_queries_and_messages_are_defended_and_weights_are_not(tmp_path, round):
    SEEN.clear()
    scenario = toy(SplitFedV2(), clients=12, message_defenses=(Counted(),))
    run = raysplit.run(scenario, engine="local", out=tmp_path)
    for _ in range(2):
        raysplit.infer(run, Looks(), round=round, samples=4, queries=6)
    (messages, answers, clean, _), again = SEEN
    assert all(len(row.unique()) == 1 for row in messages) and len(messages.unique()) > 1
    assert all(len(answer.unique()) == 1 for answer in answers) and not answers[0].equal(answers[1])
    assert len(clean.unique()) > 10
    assert again[0].equal(messages) and again[1][1].equal(answers[1])  # drawn from named streams


def test_a_decoder_is_trained_on_what_the_defence_leaves(tmp_path):
    """Where nothing is left a trained decoder finds no more than the mean image, which it does without the defence."""
    attack = QueryDecoder(queries=30, training=DecoderTraining(epochs=30, lr=3e-3))
    found = {}
    for name, defenses in (("none", ()), ("counted", (Counted(),))):
        scenario = toy(SplitFedV2(), cut="V1", clients=30, training__rounds=1, message_defenses=defenses)
        run = raysplit.run(scenario.replace(name=name), engine="local", out=tmp_path)
        scores = raysplit.infer(run, attack, samples=20, queries=30, auxiliary=30).scores
        found[name] = next(s.value for s in scores if (s.of, s.metric) == ("QueryDecoder", "MSE"))
    assert found["none"] < found["counted"]


def test_a_run_is_evaluated_again_to_the_last_bit(tmp_path):
    scenario = toy(SplitFedV2(), message_defenses=(Counted(), TopK(share=0.5)))
    run = raysplit.run(scenario, engine="local", out=tmp_path)
    row = run.evaluations.to_pylist()[-1]
    assert run.evaluate().loss == row["loss"] and run.evaluate().accuracy == row["accuracy"]
