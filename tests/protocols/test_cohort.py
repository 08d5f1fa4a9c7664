import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysplit.errors import ScenarioError
from raysplit.population.selection.cohort import Cohort, draw, malicious_ranks

SHARES = st.floats(0, 0.99)


@given(st.integers(1, 60), st.integers(0, 5), SHARES, SHARES, st.sampled_from(["population", "cohort"]))
def test_the_cohort_is_the_same_whatever_the_malicious_share(size, round, share, other, of):
    ranks = malicious_ranks(42, 60)
    one = draw(Cohort(size, share, of), 42, round, ranks)
    assert one.clients.tolist() == draw(Cohort(size, other), 42, round, ranks).clients.tolist()
    assert sorted(set(one.clients.tolist())) == one.clients.tolist(), "ascending, none twice"
    assert one.clients.min() >= 0 and one.clients.max() < 60


@given(st.integers(1, 60), SHARES, SHARES, st.sampled_from(["population", "cohort"]))
def test_a_larger_share_holds_the_malicious_clients_of_a_smaller_one(size, a, b, of):
    ranks = malicious_ranks(7, 60)
    few, many = (draw(Cohort(size, share, of), 7, 3, ranks).malicious for share in sorted((a, b)))
    assert not (few & ~many).any()


@given(st.integers(1, 60), SHARES, st.integers(1, 20))
def test_of_cohort_every_cohort_holds_exactly_its_share(size, share, round):
    sampled = draw(Cohort(size, share, "cohort"), 1, round, malicious_ranks(1, 60))
    assert sampled.malicious.sum() == round_half_even(share * size) == Cohort(size, share).assumed


def round_half_even(value):
    return int(np.rint(value))


def test_of_population_a_client_is_malicious_once_and_for_all():
    ranks = malicious_ranks(42, 50)
    seen = {}
    for round in range(1, 200):
        sampled = draw(Cohort(10, 0.3), 42, round, ranks)
        for client, malicious in zip(sampled.clients.tolist(), sampled.malicious.tolist(), strict=True):
            assert seen.setdefault(client, malicious) == malicious
    assert len(seen) == 50 and sum(seen.values()) == 15


def test_of_population_the_count_is_hypergeometric():
    """3550 clients, 20 % malicious, cohorts of 100: mean 20, sd sqrt(100·0.2·0.8·3450/3549) = 3.944."""
    ranks, rounds = malicious_ranks(42, 3550), 2000
    counts = np.array([draw(Cohort(100, 0.2), 42, r, ranks).malicious.sum() for r in range(1, rounds + 1)])
    sd = np.sqrt(100 * 0.2 * 0.8 * 3450 / 3549)
    assert abs(counts.mean() - 20) < 5 * sd / np.sqrt(rounds)
    assert abs(counts.std() - sd) < 5 * sd / np.sqrt(2 * rounds)


def test_every_client_is_drawn_equally_often():
    ranks, rounds = malicious_ranks(1, 40), 1000
    counts = np.zeros(40)
    for round in range(rounds):
        counts[draw(Cohort(10), 1, round, ranks).clients] += 1
    assert abs(counts - 250).max() < 5 * np.sqrt(rounds * 0.25 * 0.75)


def test_cohorts_differ_between_rounds_and_seeds():
    ranks = malicious_ranks(1, 1000)
    first = draw(Cohort(20), 1, 1, ranks).clients.tolist()
    assert first != draw(Cohort(20), 1, 2, ranks).clients.tolist()
    assert first != draw(Cohort(20), 2, 1, ranks).clients.tolist()
    assert sorted(malicious_ranks(1, 1000)) == list(range(1000))
    assert malicious_ranks(1, 1000).tolist() != malicious_ranks(2, 1000).tolist()


def test_a_cohort_may_be_everybody_but_no_more():
    ranks = malicious_ranks(1, 7)
    assert draw(Cohort(7), 1, 1, ranks).clients.tolist() == list(range(7))
    with pytest.raises(ScenarioError, match=r"Cohort\.size is 8, but the population has only 7 clients"):
        draw(Cohort(8), 1, 1, ranks)


@pytest.mark.parametrize(
    "arguments,words",
    [
        ((0,), "Cohort.size must be at least 1"),
        ((5, 1.0), "below 1"),
        ((5, -0.1), "at least 0"),
        ((5, float("nan")), "nan"),
    ],
)
def test_an_impossible_cohort_is_refused(arguments, words):
    with pytest.raises(ScenarioError, match=words):
        Cohort(*arguments)
