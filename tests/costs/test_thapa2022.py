"""The formulas of Table 2, on numbers that a pencil can check."""

import math
from fractions import Fraction

import pytest

from raysplit.costs.thapa2022 import Setting, break_even_clients, fl, second_cut, sflv1, sflv2, sl
from raysplit.errors import UserError

S = Setting(p=100, q=6, beta=Fraction(1, 10), W=1000, K=5, R=50, T=7.0, T_fedavg=3.0)


def test_a_row_each():
    assert (fl(S).per_client, fl(S).total, fl(S).seconds) == (2000, 10_000, 7 + 40 + 3)
    for row in (sl, sflv1, sflv2):
        assert (row(S).per_client, row(S).total) == (240 + 200, 1200 + 1000)
    assert sl(S).seconds == 7 + 24 + 20
    assert sflv1(S).seconds == pytest.approx(7 + 4.8 + 4 + 3, abs=1e-12)
    assert sflv2(S).seconds == pytest.approx(7 + 4.8 + 4 + 1.5, abs=1e-12)


def test_the_second_cut_stands_apart():
    assert second_cut(S, 2, in_turn=True).total == 400
    assert second_cut(S, 2, in_turn=True).per_client == 80
    assert second_cut(S, 2, in_turn=True).seconds == 8
    assert second_cut(S, 2, in_turn=False).seconds == 1.6


@pytest.mark.parametrize(("q", "beta"), [(9, Fraction(1, 10)), (18, Fraction(4, 5)), (1, Fraction(0))])
def test_at_the_break_even_both_move_as_much(q, beta):
    setting = Setting(p=1000, q=q, beta=beta, W=100, K=1)
    k = break_even_clients(setting)
    assert k == int(k)
    for clients, sign in ((int(k) - 1, 1), (int(k), 0), (int(k) + 1, -1)):
        there = Setting(p=1000, q=q, beta=beta, W=100, K=clients)
        difference = sl(there).total - fl(there).total
        assert (difference > 0) - (difference < 0) == sign


def test_a_client_that_holds_everything_never_breaks_even():
    assert break_even_clients(Setting(p=10, q=1, beta=1, W=5, K=1)) == math.inf


@pytest.mark.parametrize("k", [2, 10, 100, 1000])
def test_the_papers_order_of_times_and_its_gap_grow_with_clients(k):
    many = Setting(p=100, q=6, beta=0.1, W=1000, K=k, R=50, T=7.0, T_fedavg=3.0)
    assert sflv2(many).seconds < sflv1(many).seconds
    # SL beats SplitFed in the table while averaging costs more than the transfers that it saves.
    saved = (2 * 100 * 6 / 50) * (1 - 1 / k) + (2 * 0.1 * 1000 / 50) * (k - 1)
    assert (sflv1(many).seconds < sl(many).seconds) == (saved > 3.0)


@pytest.mark.parametrize("wrong", [{"beta": 1.5}, {"K": 0}, {"R": 0}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(UserError):
        Setting(**{"p": 10, "q": 1, "beta": 0.5, "W": 5, "K": 1, **wrong})
