"""What invented populations share."""

from __future__ import annotations

import numpy as np
import pytest

from raysplit import synthetic_roles, synthetic_writers
from raysplit.errors import PopulationError
from raysplit.population.invented import held_out, known_ids


def test_a_client_has_one_test_sample_at_least_where_that_leaves_one_to_train_on():
    sizes = np.array([1, 2, 4, 10, 26, 100])
    assert held_out(sizes, 0.1).tolist() == [0, 1, 1, 1, 3, 10]
    assert held_out(sizes, 0.0).tolist() == [0] * 6
    assert held_out(np.array([2, 3]), 0.9).tolist() == [1, 2]


def test_ids_that_are_not_there_are_named():
    assert known_ids(np.array([0, 3]), 4).tolist() == [0, 3] and len(known_ids(np.array([]), 4)) == 0
    for wrong in (-1, 4):
        with pytest.raises(PopulationError, match=f"Client {wrong} does not exist: the population has 4"):
            known_ids(np.array([0, wrong]), 4)


@pytest.mark.parametrize(
    ("make", "arguments", "sentence"),
    [
        (synthetic_writers, {"writers": 2.0}, r"synthetic_writers: writers must be a whole number, not 2\.0\."),
        (synthetic_writers, {"skew": True}, r"synthetic_writers: skew must be a number, not True\."),
        (synthetic_roles, {"spread": float("nan")}, r"synthetic_roles: spread must be a number, not nan\."),
        (synthetic_roles, {"mean_samples": 1}, r"synthetic_roles: mean_samples must lie in 2 … 100000, not 1\."),
    ],
)
def test_numbers_out_of_range_are_one_sentence(make, arguments, sentence):
    with pytest.raises(PopulationError, match=sentence):
        make(**arguments)
