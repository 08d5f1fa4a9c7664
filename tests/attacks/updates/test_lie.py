import math

import pytest
import torch

from raysplit.aggregation.rules.mean import Mean
from raysplit.aggregation.rules.median import Median
from raysplit.aggregation.rules.trimmed_mean import TrimmedMean
from raysplit.attacks.updates.lie import LittleIsEnough, little_enough
from raysplit.errors import ScenarioError
from tests.attacks.updates.cohorts import aggregate, attacked, gaussian, view_of


def test_z_of_the_paper():
    assert round(little_enough(100, 20), 3) == 0.286
    assert round(little_enough(50, 10), 3) == 0.253
    assert math.isinf(little_enough(10, 10)) and math.isinf(little_enough(10, 7))


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("knowledge", ["full", "partial"])
def test_rows_are_the_shifted_mean(sign, knowledge):
    updates = gaussian(50, 40)
    seen = updates[10:] if knowledge == "full" else updates[:10]
    poison = LittleIsEnough(sign=sign, knowledge=knowledge).poison(view_of(updates, 10, Mean(), knowledge))
    expected = seen.mean(0) + sign * little_enough(50, 10) * seen.std(0)
    torch.testing.assert_close(poison.rows, expected.expand(10, -1))
    fixed = LittleIsEnough(z=1, sign=sign, knowledge=knowledge).poison(view_of(updates, 10, Mean(), knowledge))
    torch.testing.assert_close(fixed.rows[3], seen.mean(0) + sign * seen.std(0))


@pytest.mark.parametrize("rule", [Mean(), TrimmedMean(), Median()], ids=repr)
def test_it_does_damage_but_less_than_its_size(rule):
    updates = gaussian(100, 500)
    truth = updates[20:].mean(0)
    poison = LittleIsEnough(z=1.0).poison(view_of(updates, 20, rule))
    assert float((attacked(rule, updates, poison) - truth).norm()) > float(
        (aggregate(rule, updates, 20) - truth).norm()
    )
    shift = (attacked(rule, updates, poison) - truth) / updates[20:].std(0)
    assert -1 < float(shift.mean()) < 0


def test_errors():
    with pytest.raises(ScenarioError, match="turn it with sign"):
        LittleIsEnough(z=-1.0)
    with pytest.raises(ScenarioError, match="give z a number"):
        LittleIsEnough().poison(view_of(gaussian(10, 3), 7, Mean()))
    with pytest.raises(ScenarioError, match="no benign client"):
        LittleIsEnough().poison(view_of(gaussian(10, 3), 10, Mean()))
