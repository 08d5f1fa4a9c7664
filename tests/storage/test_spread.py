"""Accuracy over clients: against plain statistics, and through a run's tables."""

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.storage.spread import Spread
from tests.toys import play, toy

FRACTIONS = st.lists(st.integers(0, 500).map(lambda hits: hits / 500), min_size=2, max_size=60)


@given(FRACTIONS)
def test_spread_is_what_plain_statistics_say(values):
    spread = Spread.of(np.array(values))
    assert spread.mean == pytest.approx(statistics.fmean(values))
    assert spread.sd == pytest.approx(statistics.stdev(values), abs=1e-9)
    if spread.cv is not None:
        assert spread.cv == pytest.approx(100 * statistics.stdev(values) / statistics.fmean(values), abs=1e-6)
    assert spread.p50 == pytest.approx(statistics.median(values))
    worst = sorted(values)[: math.ceil(len(values) / 10)]
    assert spread.worst_decile == pytest.approx(statistics.fmean(worst))
    assert spread.worst_decile <= spread.p10 + 1e-12 <= spread.p25 + 2e-12 <= spread.p90 + 3e-12


def test_one_client_has_no_spread_and_none_right_no_variation():
    assert Spread.of(np.array([0.5])).sd == 0
    assert Spread.of(np.zeros(3)).cv is None


def test_a_runs_tables_hold_every_client_and_agree_with_the_summary():
    tables = play(toy(SplitFedV1(), clients=6, training__rounds=2)).tables
    clients = tables["client_evaluations"].to_pandas()
    for row in tables["evaluations"].to_pylist():
        of_round = clients[clients["round"] == row["round"]]
        assert len(of_round) == row["clients"] and of_round["samples"].sum() == row["samples"]
        assert of_round["correct"].sum() / of_round["samples"].sum() == pytest.approx(row["accuracy"])
        assert (of_round["loss"] * of_round["samples"]).sum() / of_round["samples"].sum() == pytest.approx(row["loss"])
        assert Spread.of(of_round["correct"] / of_round["samples"]).worst_decile == pytest.approx(
            row["client_accuracy_worst_decile"]
        )
