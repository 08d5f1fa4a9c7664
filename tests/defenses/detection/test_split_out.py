"""SplitOut: outlier factors against scikit-learn's, the simulated training against a plain loop, and the verdicts."""

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional

from raysplit import SplitOut, Training
from raysplit.defenses.detection.client_detector import OwnData
from raysplit.defenses.detection.outlier_factor import local_outlier_factor, reach
from raysplit.defenses.detection.split_out import simulated
from raysplit.models.network import build
from tests.defenses.detection.answers import answered
from tests.toys import ToyCnn


def by_definition(point, known, k):
    """Breunig et al., definitions 3 to 7, point by point."""

    def neighbours(p, among):
        return sorted(among, key=lambda o: np.linalg.norm(p - known[o]))[:k]

    def k_distance(o):
        others = [i for i in range(len(known)) if i != o]
        return np.linalg.norm(known[o] - known[neighbours(known[o], others)[-1]])

    def density(p, among):
        near = neighbours(p, among)
        return 1 / (np.mean([max(k_distance(o), np.linalg.norm(p - known[o])) for o in near]) + 1e-10)

    everyone = list(range(len(known)))
    near = neighbours(point, everyone)
    lrd = [density(known[o], [i for i in everyone if i != o]) for o in near]
    return np.mean(lrd) / density(point, everyone)


def test_outlier_factors_are_those_of_the_definition_and_of_scikit_learn():
    rng = np.random.default_rng(2)
    known, points = rng.standard_normal((8, 5)), rng.standard_normal((6, 5)) * [[0.1], [1], [2], [4], [8], [1]]
    farthest, density = reach(torch.from_numpy(known))
    found = [local_outlier_factor(torch.from_numpy(p), torch.from_numpy(known), farthest, density) for p in points]
    assert found == pytest.approx([by_definition(p, known, 7) for p in points], rel=1e-9)
    neighbors = pytest.importorskip("sklearn.neighbors")
    oracle = neighbors.LocalOutlierFactor(n_neighbors=7, novelty=True).fit(known)
    assert found == pytest.approx(-oracle.score_samples(points), rel=1e-9)
    assert [factor <= 1.5 for factor in found] == (oracle.predict(points) == 1).tolist()
    assert any(factor > 1.5 for factor in found) and any(factor <= 1.5 for factor in found)


def own_data(training, samples=30, seed=4):
    x = torch.rand(samples, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    y = torch.arange(samples) % 5
    return OwnData(0, x, y, build(ToyCnn("V1"), 11), training, 0, np.random.default_rng(9))


def test_the_simulated_training_is_a_plain_loop_over_its_share():
    own = own_data(Training(rounds=1, lr=0.1, batch_size=4))
    network = copy.deepcopy(own.untrained)
    found = simulated(own, 18, epochs=2)
    draws = np.random.default_rng(9)
    chosen, expected = draws.permutation(30)[:18], []
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(2):
        order = chosen[draws.permutation(18)]
        for step in range(4):
            batch = torch.from_numpy(order[4 * step : 4 * step + 4])
            draws.integers(2**62)  # names masks of dropout
            optimizer.zero_grad()
            functional.cross_entropy(network(own.x[batch]), own.y[batch]).backward()
            expected.append(network[0][0].weight.grad.flatten().double().clone())
            optimizer.step()
    assert found.shape == (8, 27) and torch.allclose(found, torch.stack(expected), atol=1e-7)


def test_what_lies_far_off_is_an_outlier_and_what_lies_among_them_is_none():
    detector = SplitOut(share=1.0)
    memory = detector.prepared(own_data(Training(rounds=1, lr=0.1, batch_size=4)))
    among = memory["gradients"].mean(0)
    assert detector.judge(answered(1, first_layer=among), memory).score == 1
    assert detector.judge(answered(1, first_layer=100 * among + 1), memory).score == 0
    assert detector.judge(answered(1, first_layer=among, fake=True), memory).score is None


@pytest.mark.parametrize(
    ("detector", "batch_size", "least"),
    [
        (SplitOut(share=0.1), 10, 300),
        (SplitOut(share=1.0), 10, 30),
        (SplitOut(share=0.1, epochs=2), 10, 200),
        (SplitOut(share=0.1, epochs=3), 10, 10),
        (SplitOut(share=0.3), 7, 70),
    ],
)
def test_the_least_samples_make_three_batches_and_one_less_does_not(detector, batch_size, least):
    training = Training(rounds=1, lr=0.1, batch_size=batch_size)
    assert detector.least_samples(training) == least
    own = own_data(training, least)
    assert len(detector.prepared(own)["gradients"]) >= 3
    short = int(detector.share * (least - 1))
    assert short == 0 or max(short // batch_size, 1) * detector.epochs < 3
