"""SafeSplit's parts against their definitions, and its verdicts on made-up turns."""

import math

import pytest
import torch

from raysplit.defenses.detection.detection import LocalRoundView
from raysplit.defenses.detection.safe_split import SafeSplit, angle, dct, low_frequencies, majority, scores
from raysplit.errors import ScenarioError


def written_out(row):
    """The orthonormal DCT-II, term by term."""
    size = len(row)
    scale = [math.sqrt((1 if k == 0 else 2) / size) for k in range(size)]
    return [
        scale[k] * sum(float(x) * math.cos(math.pi * (j + 0.5) * k / size) for j, x in enumerate(row))
        for k in range(size)
    ]


@pytest.mark.parametrize("size", [1, 2, 5, 8])
def test_the_dct_is_the_cosine_sum(size):
    rows = torch.randn(3, size, dtype=torch.float64, generator=torch.Generator().manual_seed(size))
    expected = torch.tensor([written_out(row) for row in rows], dtype=torch.float64)
    torch.testing.assert_close(dct(rows), expected, rtol=0, atol=1e-12)


def test_all_frequencies_keep_lengths_and_few_keep_the_slow_ones():
    update = torch.randn(6, 4, 3, generator=torch.Generator().manual_seed(1))
    assert float(low_frequencies(update, 1.0).norm()) == pytest.approx(float(update.norm()), rel=1e-6)
    assert low_frequencies(update, 0.5).shape == (3 * 6,)
    flat = low_frequencies(torch.full((4, 4), 2.0), 0.25)
    assert flat.tolist() == pytest.approx([8.0]), "a constant is all in the lowest frequency"
    assert low_frequencies(torch.ones(5), 0.2).shape == (1,), "a bias is one row"


def test_angles_are_exact_where_they_are_small_and_nothing_has_none():
    x, y = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0])
    assert float(angle(x, y)) == pytest.approx(math.pi / 2)
    assert float(angle(x, -x)) == pytest.approx(math.pi)
    assert float(angle(x.double(), torch.tensor([1.0, 1e-9], dtype=torch.float64))) == pytest.approx(1e-9)
    assert float(angle(x, torch.zeros(2))) == 0


def test_scores_are_sums_over_the_closest_majority():
    rows = torch.tensor([[0.0], [1.0], [3.0], [10.0]], dtype=torch.float64)
    assert scores(rows).tolist() == [1 + 3 + 10, 1 + 2 + 9, 2 + 3 + 7, 7 + 9 + 10]
    assert majority(torch.tensor([4.0, 1.0, 2.0, 3.0]), 1.0).tolist() == [False, True, True, True]
    assert majority(torch.tensor([4.0, 1.0, 2.0, 3.0]), 1.5).all()
    assert not majority(torch.tensor([1.0, 2.0, torch.nan]), 9.0)[2]


def local_rounds(rollback, updates):
    """The verdicts on turns that change a portion by ``updates``, each beginning where the last one was let stand."""
    at, memory, undone = torch.ones(8), {}, []
    for number, update in enumerate(updates):
        judgement = rollback.judge(LocalRoundView(1, number, (at,), (at + update,)), memory)
        memory = judgement.memory
        undone.append(judgement.undo)
        if judgement.undo == 0:
            at = at + update
    return undone


def test_a_turn_unlike_the_others_is_taken_back_and_like_ones_are_not():
    generator = torch.Generator().manual_seed(0)
    usual = [0.1 + 0.01 * torch.randn(8, generator=generator) for _ in range(9)]
    lenient = SafeSplit(margin=4.0)
    assert local_rounds(lenient, usual) == [0] * 9
    assert local_rounds(lenient, [*usual[:6], -usual[6] * 5, *usual[7:]]) == [0] * 6 + [1] + [0] * 2
    assert local_rounds(SafeSplit(least=8), [*usual[:6], -usual[6] * 5]) == [0] * 7, "too few to judge"
    assert local_rounds(SafeSplit(), [*usual[:6], usual[6] * torch.nan])[-1] == 1, "what is no number is never benign"


def test_it_goes_back_past_turns_that_have_become_suspicious():
    """Two liars come while nobody is judged; the third finds a majority against all of them."""
    usual = [torch.full((8,), 0.1) + 0.001 * k for k in range(6)]
    bad = torch.tensor([3.0, -3.0] * 4)
    assert local_rounds(SafeSplit(least=8, window=8), [*usual[:5], bad, -2 * bad, 3 * bad]) == [0] * 7 + [3]


@pytest.mark.parametrize("wrong", [{"least": 2}, {"window": 4}, {"low": 0.0}, {"low": 1.5}, {"margin": 0.5}])
def test_numbers_that_could_not_judge_are_refused(wrong):
    with pytest.raises(ScenarioError, match=f"SafeSplit.{next(iter(wrong))}"):
        SafeSplit(**wrong)
