"""Who is drawn: none twice, nobody who is away, by the frequencies that each way promises, and moved by nothing
else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysplit.errors import ScenarioError
from raysplit.population.selection.cohort import Cohort, ParticipationSampler, draw, malicious_ranks
from raysplit.population.selection.draws import Crowd, FixedRing, Poisson, RoundRobin, Uniform, Weighted
from raysplit.population.selection.dropouts import Dropouts
from tests.toys import ToyClients

DRAWS = [Uniform(), Weighted(), FixedRing(), RoundRobin(), Poisson()]
SIZES = np.array([1, 2, 3, 4, 10])


def crowd(clients, available=None, samples=None):
    return Crowd(clients, lambda: np.ones(clients, dtype=np.int64) if samples is None else samples, available)


def counts(way, rounds, clients, size, **of):
    hits = np.zeros(clients)
    for round in range(1, rounds + 1):
        hits[way.draw(size, 3, round, crowd(clients, **of))] += 1
    return hits


@settings(deadline=None)
@given(st.sampled_from(DRAWS), st.integers(1, 40), st.integers(1, 30), st.data())
def test_none_twice_and_nobody_who_is_away(way, clients, round, data):
    size = data.draw(st.integers(1, clients))
    away = np.array(data.draw(st.lists(st.booleans(), min_size=clients, max_size=clients)))
    for available in (None, away):
        ids = way.draw(size, 5, round, crowd(clients, available))
        assert ids.dtype == np.int64 and len(set(ids.tolist())) == len(ids)
        assert ids.tolist() == way.draw(size, 5, round, crowd(clients, available)).tolist()
        assert available is None or available[ids].all()
        there = clients if available is None else int(away.sum())
        if not isinstance(way, Poisson):
            assert len(ids) <= min(size, there)
        if isinstance(way, Uniform | Weighted | FixedRing):
            assert len(ids) == min(size, there), "as many as asked for, or all there are"
        if not isinstance(way, FixedRing):
            assert (np.diff(ids) > 0).all()


@settings(deadline=None)
@given(st.sampled_from(DRAWS), st.integers(1, 12), st.floats(0, 0.9), st.sampled_from(["population", "cohort"]))
def test_neither_malicious_share_nor_dropouts_move_a_cohort(way, round, share, of):
    population = ToyClients(30).open()
    plain = ParticipationSampler(Cohort(8, draw=way), 7, population).of(round)
    other = ParticipationSampler(Cohort(8, share, of, draw=way, dropouts=Dropouts(0.4), at_least=1), 7, population).of(
        round
    )
    sampled = sorted([*other.reporting.clients, *other.dropped.clients])
    assert sampled == sorted([*plain.reporting.clients, *plain.dropped.clients])


@settings(deadline=None)
@given(st.sampled_from(DRAWS), st.integers(1, 12), st.floats(0, 0.99), st.floats(0, 0.99))
def test_of_cohort_the_share_is_of_those_drawn_and_shares_are_nested(way, round, a, b):
    ranks = malicious_ranks(1, 25)
    few, many = (draw(Cohort(9, share, "cohort", draw=way), 1, round, ranks) for share in sorted((a, b)))
    assert few.malicious.sum() == int(np.rint(min(a, b) * len(few.clients)))
    assert not (few.malicious & ~many.malicious).any()


def test_the_first_weighted_client_is_drawn_in_proportion_to_its_samples():
    rounds = 4000
    share = SIZES / SIZES.sum()
    hits = counts(Weighted(), rounds, 5, 1, samples=SIZES)
    assert (abs(hits - rounds * share) < 5 * np.sqrt(rounds * share * (1 - share))).all()


def test_weighted_pairs_come_as_by_drawing_one_after_another():
    """P{i, j} = p_i p_j/(1 - p_i) + p_j p_i/(1 - p_j)."""
    p = SIZES / SIZES.sum()
    rounds = 4000
    hits = np.zeros((5, 5))
    for round in range(rounds):
        i, j = Weighted().draw(2, 0, round, crowd(5, samples=SIZES))
        hits[i, j] += 1
    for i in range(5):
        for j in range(i + 1, 5):
            expected = p[i] * p[j] * (1 / (1 - p[i]) + 1 / (1 - p[j]))
            assert abs(hits[i, j] - rounds * expected) < 5 * np.sqrt(rounds * expected * (1 - expected))


def test_weighted_never_draws_a_client_without_samples():
    samples = np.array([0, 5, 0, 1])
    for round in range(1, 50):
        assert Weighted().draw(3, 0, round, crowd(4, samples=samples)).tolist() == [1, 3]


def test_a_ring_goes_round():
    ring = FixedRing()
    rounds = [ring.draw(4, 0, round, crowd(10)).tolist() for round in range(1, 6)]
    flat = [client for cohort in rounds for client in cohort]
    assert sorted(flat[:10]) == list(range(10)) and flat[10:] == flat[:10], "20 places: twice round"
    assert [ring.draw(4, 0, round, crowd(10)).tolist() for round in range(6, 11)] == rounds
    assert ring.draw(4, 1, 1, crowd(10)).tolist() != rounds[0], "another seed, another ring"
    away = np.ones(10, dtype=bool)
    away[rounds[0][1]] = False
    assert ring.draw(4, 0, 1, crowd(10, away)).tolist() == [rounds[0][0], *rounds[0][2:], rounds[1][0]]


@settings(deadline=None)
@given(st.integers(1, 50), st.data())
def test_a_round_robin_pass_holds_everybody_once(clients, data):
    size = data.draw(st.integers(1, clients))
    windows = -(-clients // size)
    passes = [
        [RoundRobin().draw(size, 2, number * windows + window + 1, crowd(clients)) for window in range(windows)]
        for number in range(2)
    ]
    for cohorts in passes:
        assert sorted(np.concatenate(cohorts).tolist()) == list(range(clients))
        assert max(map(len, cohorts)) <= size and max(map(len, cohorts)) - min(map(len, cohorts)) <= 1


def test_round_robin_passes_are_in_different_orders():
    first = [RoundRobin().draw(5, 0, round, crowd(100)).tolist() for round in range(1, 21)]
    assert first != [RoundRobin().draw(5, 0, round, crowd(100)).tolist() for round in range(21, 41)]


def test_poisson_sizes_are_binomial_and_clients_independent():
    rounds, clients, rate = 3000, 60, 0.1
    sampled = np.zeros((rounds, clients), dtype=bool)
    for round in range(rounds):
        sampled[round, Poisson(rate).draw(6, 0, round, crowd(clients))] = True
    sizes, sd = sampled.sum(1), np.sqrt(clients * rate * (1 - rate))
    assert abs(sizes.mean() - 6) < 5 * sd / np.sqrt(rounds)
    assert abs(sizes.std() - sd) < 5 * sd / np.sqrt(2 * rounds)
    assert abs(sampled.sum(0) - rounds * rate).max() < 5 * np.sqrt(rounds * rate * (1 - rate))
    assert abs(np.corrcoef(sampled[:, :20].T) - np.eye(20)).max() < 5 / np.sqrt(rounds)


def test_poisson_without_a_rate_takes_the_mean_size():
    assert Poisson().draw(6, 0, 4, crowd(60)).tolist() == Poisson(0.1).draw(1, 0, 4, crowd(60)).tolist(), (
        "q = size/population"
    )


def test_who_is_available_does_not_move_another_clients_poisson_draw():
    everybody = Poisson(0.4).draw(40, 0, 9, crowd(100)).tolist()
    away = np.arange(100) % 3 > 0
    assert Poisson(0.4).draw(40, 0, 9, crowd(100, away)).tolist() == [k for k in everybody if k % 3]


@pytest.mark.parametrize("way", DRAWS, ids=lambda way: type(way).__name__)
def test_a_million_clients_are_no_burden(way):
    sizes = np.full(1_000_000, 7)
    assert 850 <= len(way.draw(1000, 0, 3, crowd(1_000_000, samples=sizes))) <= 1150


def test_dropouts_are_a_function_of_seed_round_and_client():
    rule = Dropouts(0.3)
    some = rule.fail(1, 5, np.arange(0, 10_000, 2))
    assert (rule.fail(1, 5, np.arange(10_000))[::2] == some).all()
    assert abs(some.mean() - 0.3) < 5 * np.sqrt(0.21 / 5000)
    assert (rule.fail(1, 6, np.arange(0, 10_000, 2)) != some).any()
    assert not Dropouts(0.0).fail(1, 5, np.arange(100)).any()
    assert (Dropouts(0.6).fail(1, 5, np.arange(0, 10_000, 2)) | ~some).all(), "a larger share fails the same and more"


def test_a_round_with_too_few_reports_is_passed_over():
    population = ToyClients(20).open()
    sampler = ParticipationSampler(Cohort(6, 0.5, dropouts=Dropouts(0.5, "after"), at_least=4), 0, population)
    seen = set()
    for round in range(1, 60):
        participation = sampler.of(round)
        n = len(participation.reporting.clients)
        assert n == 0 or n >= 4
        assert n + len(participation.dropped.clients) == 6
        assert len(participation.absent.clients) == (0 if n else 6) and len(participation.lost.clients) == (
            6 - n if n else 0
        )
        seen.add(n > 0)
    assert seen == {True, False}


@pytest.mark.parametrize(
    "make,words",
    [
        (lambda: Cohort(5, at_least=0), r"Cohort\.at_least must be at least 1"),
        (lambda: Cohort(5, at_least=6), "every round would be passed over"),
        (lambda: Cohort(5, draw="uniform"), r"Cohort\.draw must be a Draw"),
        (lambda: Cohort(5, dropouts=0.1), r"Cohort\.dropouts must be a Dropouts or None"),
        (lambda: Dropouts(1.0), r"Dropouts\.share is a share and must be at least 0 and below 1"),
        (lambda: Dropouts(0.1, "during"), r"Dropouts\.when must be 'before' or 'after'"),
        (lambda: Poisson(1.5), r"Poisson\.rate must be at least 0 and at most 1"),
        (
            lambda: Cohort(10, draw=Poisson(0.5)).check(30, "toys"),
            r"Poisson\(rate=0\.5\) draws 15 of the 30 clients of 'toys' on average, but Cohort\.size is 10; give "
            r"size=15",
        ),
    ],
)
def test_an_impossible_draw_is_refused(make, words):
    with pytest.raises(ScenarioError, match=words):
        make()
