"""Neurotoxin: its rows keep to the coordinates that the last move touched least, whatever their signs."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raysplit import (
    CompositeAttack,
    FedAvg,
    Mean,
    ModelReplacement,
    Neurotoxin,
    PixelBackdoor,
    Scheduled,
    SignFlip,
    SplitFedV2,
)
from raysplit.aggregation.rule import RoundContext
from raysplit.aggregation.update_attack import UpdateAttack, UpdateView
from raysplit.attacks.updates.neurotoxin import least_touched, needs_last_move
from raysplit.errors import ScenarioError
from raysplit.memory.global_state import GlobalState
from raysplit.parts.part import part
from tests.toys import play, toy


def seen(own, last):
    context = RoundContext(2, np.arange(len(own)), 0, 0, np.random.default_rng(0), last_move=last)
    return UpdateView(own[:0], own, 3 * len(own), Mean(), None, 2, np.random.default_rng(0), context)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 30), st.floats(0.01, 1), st.integers(0, 999))
def test_the_least_touched_by_size_keep_their_values(d, keep, seed):
    generator = torch.Generator().manual_seed(seed)
    own, last = torch.randn(2, d, generator=generator), torch.randn(d, generator=generator)
    before = own.clone()
    made = Neurotoxin(keep=keep).poison(seen(own, last))
    stay = (made.rows != 0).all(0)
    count = int(np.ceil(keep * d))
    assert int(stay.sum()) == count and made.rows[:, stay].equal(own[:, stay]) and own.equal(before)
    assert count == d or float(last[stay].abs().max()) <= float(last[~stay].abs().min())
    assert made.record["kept"] == count / d


def test_signed_values_would_choose_otherwise():
    last = torch.tensor([-5.0, 0.1, 3.0, -0.2])
    assert least_touched(last, 2).tolist() == [False, True, False, True]


def test_rows_are_made_cut_and_then_shortened():
    own, last = torch.tensor([[3.0, 4.0, 9.0]]), torch.tensor([0.0, 0.0, 1.0])
    made = Neurotoxin(keep=0.6, bound=5.0, attack=ModelReplacement()).poison(seen(own, last))
    assert made.rows.allclose(torch.tensor([[3.0, 4.0, 0.0]])) and made.record["scale"] == 3
    assert Neurotoxin(keep=0.6).poison(seen(own, None)).rows.equal(own), "in round 1 nothing has moved yet"


@part
class Witness(UpdateAttack):
    """Sends own updates, and fails unless it is told the last move in every round but the first."""

    asks_last_move = True
    start_round: int = 1
    threat_model = Neurotoxin().threat_model

    def poison(self, view):
        assert (view.context.last_move is None) == (view.round == 1)
        return ModelReplacement(scale=1.0).poison(view)


ATTACK = CompositeAttack((PixelBackdoor(target=1), Neurotoxin(keep=0.5)))


def test_the_last_move_is_what_the_global_portion_did(tmp_path):
    scenario = toy(SplitFedV2(), cohort__malicious=0.5, attack=Witness(), training__rounds=3)
    states = []
    for rounds in (1, 2, 3):
        states.append(play(scenario.replace(**{"training.rounds": rounds})).state)
    assert states[2].memory["fed/last_move"]["move"].equal(states[2].client - states[1].client)
    assert "fed/last_move" not in play(toy(FedAvg())).state.memory


@pytest.mark.parametrize("protocol", [FedAvg(), SplitFedV2()])
def test_resumed_from_a_checkpoint_it_has_the_same_bits(tmp_path, protocol):
    from raysplit.storage.checkpoints import newest_checkpoint, read_checkpoint

    scenario = toy(protocol, cohort__malicious=0.5, attack=ATTACK, training__rounds=4, checkpoint_every=2)
    straight = play(scenario, folder=tmp_path / "a")
    folder = tmp_path / "a" / "checkpoints"
    read: GlobalState = read_checkpoint(folder / "round-000002", straight.layout, scenario.hash)
    assert newest_checkpoint(folder) != folder / "round-000002" and read.round == 2
    assert play(scenario, start=read).digest == straight.digest
    forgetful = read.remember({"fed/last_move": {}})

    assert play(scenario, start=forgetful).digest != straight.digest


def test_who_asks():
    assert needs_last_move(Scheduled(ModelReplacement(attack=Neurotoxin()))) and needs_last_move(ATTACK)
    assert not needs_last_move(None) and not needs_last_move(ModelReplacement(attack=SignFlip()))
    for bad in ({"keep": 0.0}, {"keep": 1.5}, {"bound": 0.0}, {"attack": SignFlip(start_round=2)}, {"start_round": 0}):
        with pytest.raises(ScenarioError, match="Neurotoxin"):
            Neurotoxin(**bad)
