import numpy as np
import pytest
import torch

from raysplit.aggregation.rules.krum import Krum
from raysplit.aggregation.rules.mean import Mean
from raysplit.aggregation.rules.median import Median
from raysplit.aggregation.rules.multi_krum import MultiKrum
from raysplit.aggregation.rules.trimmed_mean import TrimmedMean
from raysplit.attacks.updates.mimic import Mimic
from raysplit.attacks.updates.model_replacement import ModelReplacement
from raysplit.attacks.updates.sign_flip import SignFlip
from raysplit.errors import ScenarioError
from tests.attacks.updates.cohorts import aggregate, attacked, gaussian, view_of


@pytest.mark.parametrize("seed", range(3))
def test_mimic_copies_the_update_that_stands_out_most(seed):
    updates = gaussian(20, 60, seed=seed)
    honest = updates[4:]
    z = torch.linalg.svd(honest - honest.mean(0)).Vh[0]
    target = int(((honest - honest.mean(0)) @ z).abs().argmax())
    poison = Mimic().poison(view_of(updates, 4, Mean()))
    assert torch.equal(poison.rows, honest[target].expand(4, -1)) and poison.record == {"target": target}
    assert torch.equal(Mimic(target=3).poison(view_of(updates, 4, Mean())).rows, honest[3].expand(4, -1))
    own = Mimic(target=1, knowledge="partial").poison(view_of(updates, 4, Mean(), "partial"))
    assert torch.equal(own.rows, updates[1].expand(4, -1))


@pytest.mark.parametrize("rule", [Mean(), TrimmedMean(), Median(), Krum(), MultiKrum(select=3)], ids=repr)
@pytest.mark.parametrize("seed", range(3))
def test_mimic_beats_no_attack(rule, seed):
    updates = gaussian(23, 100, seed=seed)
    truth = updates[5:].mean(0)
    none = float((aggregate(rule, updates, 5) - truth).norm())
    assert float((attacked(rule, updates, Mimic().poison(view_of(updates, 5, rule))) - truth).norm()) > none


def test_model_replacement_survives_the_mean():
    updates = gaussian(20, 30)
    poison = ModelReplacement().poison(view_of(updates, 1, Mean(), "partial"))
    torch.testing.assert_close(poison.rows, 20 * updates[:1])
    torch.testing.assert_close(attacked(Mean(), updates, poison), updates[0] + updates[1:].sum(0) / 20)
    flipped = ModelReplacement(SignFlip(), scale=3.0).poison(view_of(updates, 4, Mean(), "partial"))
    torch.testing.assert_close(flipped.rows, -3 * updates[:4])
    assert flipped.record == {"scale": 3.0}
    full = ModelReplacement(Mimic(target=2)).poison(view_of(updates, 4, Mean()))
    torch.testing.assert_close(full.rows, (5 * updates[6]).expand(4, -1))
    assert ModelReplacement(Mimic()).threat_model.knowledge == "full"
    assert ModelReplacement().threat_model.knowledge == "partial"


@pytest.mark.parametrize(
    "attack", [ModelReplacement(), ModelReplacement(SignFlip()), ModelReplacement(Mimic())], ids=repr
)
@pytest.mark.parametrize("seed", range(3))
def test_model_replacement_beats_no_attack_and_the_plain_attack(attack, seed):
    updates = gaussian(20, 200, seed=seed)
    truth = updates[4:].mean(0)
    hit = (attacked(Mean(), updates, attack.poison(view_of(updates, 4, Mean()))) - truth).norm()
    assert hit > (aggregate(Mean(), updates, 4) - truth).norm()
    if attack.attack is not None:
        assert hit > 1.5 * (attacked(Mean(), updates, attack.attack.poison(view_of(updates, 4, Mean()))) - truth).norm()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ModelReplacement(SignFlip(start_round=3)), "leave the attack's own start_round out"),
        (lambda: ModelReplacement(scale=0.0), "above 0 and finite"),
        (lambda: ModelReplacement(scale=float("inf")), "above 0 and finite"),
        (lambda: Mimic(target=-1), "Mimic.target must be at least 0"),
        (lambda: Mimic(target=99).poison(view_of(gaussian(9, 3), 2, Mean())), "it sees 7 in round 1"),
    ],
)
def test_bad_parameters(make, words):
    with pytest.raises(ScenarioError, match=words):
        make()


def test_streams_are_left_alone():
    view = view_of(gaussian(9, 3), 2, Mean())
    before = view.rng.bit_generator.state
    Mimic().poison(view)
    assert np.array_equal(before["state"]["state"], view.rng.bit_generator.state["state"]["state"])
