"""SplitGuard: its score by hand, who is sent what, and what it takes for an answer."""

import numpy as np
import pytest
import torch

from raysplit import SplitGuard, rng
from raysplit.defenses.detection.split_guard import guarded
from tests.defenses.detection.answers import about_to_send, answered


def by_hand(fakes, ones, others, mult=5, exponent=2):
    """From lists of gradients, by arccos and logistic function."""

    def angle(a, b):
        return np.arccos(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))

    mean = [np.mean(gradients, 0) for gradients in (fakes, ones, others)]
    norm = [np.mean([np.linalg.norm(g) for g in gradients]) for gradients in (fakes, ones, others)]
    middle, middle_norm = (mean[1] + mean[2]) / 2, (norm[1] + norm[2]) / 2
    apart, usual = abs(norm[0] - middle_norm), abs(norm[1] - norm[2])
    raw = (angle(mean[0], middle) * apart - angle(mean[1], mean[2]) * usual) / (apart + usual)
    return (1 / (1 + np.exp(-mult * raw))) ** exponent


def test_scores_are_those_of_the_three_sets_computed_anew_at_every_fake():
    guard, draws, memory = SplitGuard(start=2), np.random.default_rng(1), {}
    sets = {"fake": [], "one": [], "other": []}
    compared = 0
    for batch in range(1, 40):
        gradient, fake = draws.standard_normal(6) + 1, batch % 4 == 0
        verdict = guard.judge(answered(batch, first_layer=torch.from_numpy(gradient), fake=fake), memory)
        memory = verdict.memory
        if batch <= 2:
            assert verdict.score is None and not memory, "it has not begun"
            continue
        half = "one" if rng.stream(7, "judged in a test", batch).random() < 0.5 else "other"
        sets["fake" if fake else half].append(gradient)
        if fake and sets["one"] and sets["other"]:
            assert verdict.score == pytest.approx(by_hand(*sets.values()), rel=1e-9)
            compared += 1
        else:
            assert verdict.score is None
    assert compared >= 8 and sets["one"] and sets["other"]


def test_wrong_labels_that_are_answered_by_long_gradients_the_other_way_score_high():
    usual = torch.tensor([1.0, 0, 0])
    honest = guarded(torch.tensor([-5.0, 0.1, 0]), 5.0, usual, 1.0, usual + torch.tensor([0, 0.1, 0]), 1.01)
    blind = guarded(usual + torch.tensor([0, 0.01, 0]), 1.005, usual, 1.0, usual + torch.tensor([0, 0.1, 0]), 1.1)
    assert honest > 3 and blind < 0.05


def test_answers_of_zeros_have_no_angle_and_are_found_guilty():
    guard, memory, scores = SplitGuard(start=0), {}, []
    for batch in range(1, 30):
        verdict = guard.judge(answered(batch, first_layer=torch.zeros(3), fake=batch > 10), memory)
        memory = verdict.memory
        scores += [] if verdict.score is None else [verdict.score]
    assert scores and set(scores) == {0.25}


def test_about_one_batch_in_ten_gets_labels_that_are_all_wrong_by_one_number():
    labels, guard = torch.tensor([0, 3, 9, 3]), SplitGuard()
    sent = {batch: guard.pretended(about_to_send(batch, labels), {}) for batch in range(1, 1021)}
    fakes = {batch: wrong for batch, wrong in sent.items() if wrong is not None}
    assert min(fakes) > 20 and 70 <= len(fakes) <= 130
    shifts = [set(((wrong - labels) % 10).tolist()) for wrong in fakes.values()]
    assert all(len(shift) == 1 for shift in shifts) and set.union(*shifts) == set(range(1, 10))
