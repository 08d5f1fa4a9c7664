"""The patch that is stamped: where it lies, and its quarters."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raysplit import Patch, femnist_cnn, gin
from raysplit.errors import ScenarioError

sides = st.integers(2, 6)


@settings(deadline=None, max_examples=40)
@given(sides, sides, st.integers(0, 4), st.integers(0, 4))
def test_the_quarters_partition_the_trigger_exactly(height, width, bottom, right):
    patch = Patch(height, width, bottom, right)
    quarters = torch.stack([patch.quarter(number, 12, 11) for number in range(4)])
    assert quarters.sum(0).equal(patch.mask(12, 11).long())
    assert int(patch.mask(12, 11).sum()) == height * width and quarters.flatten(1).any(1).all()


def test_it_lies_where_it_says_and_alternates():
    x = torch.full((2, 3, 8, 9), 100, dtype=torch.uint8)
    made = Patch(2, 3, bottom=1, right=2).stamp(x)
    rows, columns = (made[0, 0] != 100).nonzero().T
    assert sorted(set(rows.tolist())) == [5, 6] and sorted(set(columns.tolist())) == [4, 5, 6]
    assert made[1, 2, 5:7, 4:7].tolist() == [[0, 255, 0], [255, 0, 255]] and x.eq(100).all()
    assert Patch(1, 1, values=(7.0,)).stamp(x)[0, 0, 6, 7] == 7
    assert Patch(1, 1, values=(0.25,)).stamp(x / 255)[0, 0, 6, 7] == 0.25


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Patch(height=0), "Patch.height must be at least 1"),
        (lambda: Patch(values=()), "needs one value or more"),
        (lambda: Patch(28, 28).fits(femnist_cnn()), "does not fit samples of 28 × 28 pixels"),
        (lambda: Patch().fits(gin(nodes=28, labels=7, classes=2)), "reads packed graphs or texts"),
        (lambda: Patch(values=(0.5,)).stamp(torch.zeros(1, 1, 9, 9, dtype=torch.uint8)), "whole numbers from 0 to 255"),
    ],
)
def test_what_cannot_be_stamped(make, words):
    with pytest.raises(ScenarioError, match=words):
        make()
