"""The leak AUC against two independent ways to it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from raysplit.analysis.scores.labels import leak_auc


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=15), st.lists(st.integers(0, 5), min_size=1, max_size=15))
def test_leak_auc_is_the_share_of_pairs_that_are_in_order(above, below):
    scores = torch.tensor([*above, *below]).double()
    positive = torch.arange(len(scores)) < len(above)
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a in above for b in below]
    found = leak_auc(scores, positive)
    assert found == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)
    assert found == pytest.approx(mannwhitneyu(above, below).statistic / len(pairs), abs=1e-12)
    assert leak_auc(-scores, positive) == pytest.approx(1 - found, abs=1e-12)
