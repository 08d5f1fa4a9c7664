import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raysplit.aggregation.order_statistics import mean_of_ranks
from raysplit.attacks.updates.order_lemma import Line, RankGame, clamped_mean

VALUES = st.sampled_from([-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 7.0])  # few values, hence many ties


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_clamp_lemma_against_a_plain_sort(data):
    n_b = data.draw(st.integers(1, 9))
    m = data.draw(st.integers(0, 9))
    benign = np.array(data.draw(st.lists(VALUES, min_size=n_b, max_size=n_b)))
    v = data.draw(VALUES)
    k = data.draw(st.integers(0, (n_b + m - 1) // 2))
    union = np.sort(np.concatenate([benign, np.full(m, v)]))
    padded = np.concatenate([np.full(m, -np.inf), np.sort(benign), np.full(m, np.inf)])  # padded[m + i - 1] = b_(i)
    for i in range(1, n_b + m + 1):
        assert union[i - 1] == np.clip(v, padded[i - 1], padded[m + i - 1])
    ordered = torch.from_numpy(np.sort(benign))[:, None]
    fused = clamped_mean(ordered, torch.tensor([v], dtype=torch.float64), m, k + 1, n_b + m - k)
    assert np.isclose(float(fused), union[k : n_b + m - k].mean(), rtol=0, atol=1e-12)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 30), st.integers(0, 14), st.integers(0, 14), st.integers(0, 2**31))
def test_survey_is_the_rule_on_the_materialised_stack(n_b, m, k, seed):
    if 2 * k >= n_b + m:
        return
    generator = torch.Generator().manual_seed(seed)
    benign = torch.randn(n_b, 13, generator=generator, dtype=torch.float64)
    p = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)[torch.randint(3, (13,), generator=generator)]
    mean = benign.mean(0)
    game = RankGame(benign, m, k + 1, n_b + m - k)

    def naive(gamma):
        return float(
            (mean_of_ranks(torch.cat([benign, (mean + gamma * p).expand(m, -1)]), game.first, game.last) - mean).norm()
        )

    line = Line.of(game, mean, p)
    for gamma in (0.0, 0.3, 2.0, 50.0):
        assert np.isclose(game.objective(mean, mean + gamma * p), naive(gamma), atol=1e-12)
        assert line.objective(gamma) == game.objective(mean, mean + gamma * p), "to the last bit"
    finite = game.bounded(bool((p < 0).any()), bool((p > 0).any()))
    if not finite:
        assert naive(1e9) > 1e3 * naive(50.0) or naive(1e9) > 1e6
        return
    survey = game.survey(mean, p)
    assert np.isclose(survey.plateau, naive(1e6), atol=1e-9)
    assert all(naive(gamma) <= survey.bound + 1e-9 for gamma in np.linspace(0, 6, 25))
    assert k >= m or not p.any()


def test_a_coordinate_may_be_worse_at_zero_than_on_the_plateau():
    """reference/poisoning.md 2.1 (f): why the certificate takes the larger end of each coordinate."""
    benign = torch.cat([torch.full((10, 1), -8.0), torch.full((70, 1), 8 / 7)]).double()
    game = RankGame(benign, 20, 21, 80)
    mean = benign.mean(0)
    survey = game.survey(mean, -torch.ones(1, dtype=torch.float64))
    assert round(survey.plateau, 3) == 0.381
    assert round(survey.bound, 3) == round(game.objective(mean, mean), 3) == 0.952
