"""Feature skew: what each client sees is the pool's sample, changed as its rule says, and the same at every read."""

import numpy as np
import pytest
import torch

from raysplit import rng
from raysplit.errors import ScenarioError
from raysplit.population.partition.feature_skew import NoiseLevels, Rotations, rotated
from raysplit.population.partition.iid import Iid
from raysplit.population.partition.partitioned import partitioned
from tests.toys import ToyClients


def both(features, test="same", clients=4):
    return (partitioned(ToyClients(30), Iid(), clients, test=test, features=f).open() for f in (None, features))


def test_quarter_turns_are_exact():
    plain, turned = both(Rotations(4))
    for client in range(4):
        for which in ("train", "test"):
            before, after = getattr(plain, which)(client), getattr(turned, which)(client)
            assert after.x.equal(torch.rot90(before.x, client, (2, 3))) and after.y.equal(before.y)


def test_a_turn_by_half_an_angle_twice_is_nearly_the_turn():
    side = 41
    down, right = np.mgrid[:side, :side] - side // 2
    smooth = np.rint(128 + 80 * np.sin(down / 9.0) * np.cos(right / 7.0)).astype(np.uint8)[None, None]
    twice, once = rotated(rotated(smooth, 22.5), 22.5), rotated(smooth, 45.0)
    inside = down**2 + right**2 < (side // 2 - 2) ** 2
    assert abs(twice.astype(int) - once)[0, 0][inside].max() <= 3
    assert rotated(smooth, 360.0).tobytes() == smooth.tobytes()


def test_counter_clockwise():
    x = np.zeros((1, 1, 5, 5), dtype=np.uint8)
    x[0, 0, 2, 4] = 200  # east of the centre
    assert np.argwhere(rotated(x, 90)[0, 0]).tolist() == [[0, 2]], "turned to the north"


def test_noise_grows_with_the_client_and_is_the_same_at_every_read():
    rule = NoiseLevels(0.1)
    x = np.full((50, 1, 28, 28), 128, dtype=np.uint8)
    for client, clients in ((0, 10), (4, 10), (9, 10)):
        seen = rule.change(x, client, clients, rng.stream(0, "test"))
        sd = 25.5 * (client + 1) / clients
        assert seen.dtype == np.uint8 and abs(seen.astype(float).mean() - 128) < 5 * sd / np.sqrt(x.size)
        assert abs(seen.astype(float).std() - np.sqrt(sd**2 + 1 / 12)) < 5 * sd / np.sqrt(2 * x.size)
    assert (x == 128).all(), "the argument stays as it was"
    _, noisy = both(rule)
    assert noisy.train(3).x.equal(noisy.train(3).x) and not noisy.train(3).x.equal(next(iter(both(rule))).train(3).x)


def test_the_whole_pool_as_test_set_is_left_as_it_is():
    plain, turned = both(Rotations(4), test="pool")
    assert turned.test(1).x.equal(plain.test(1).x) and not turned.train(1).x.equal(plain.train(1).x)


def test_feature_skew_is_in_the_digest_but_moves_no_sample():
    plain, turned = both(Rotations(2))
    assert plain.info.digest != turned.info.digest
    assert [plain.samples(k, "train").tolist() for k in range(4)] == [
        turned.samples(k, "train").tolist() for k in range(4)
    ]


def test_what_cannot_be_is_refused():
    with pytest.raises(ScenarioError, match=r"Rotations\.groups must be at least 1"):
        Rotations(0)
    with pytest.raises(ScenarioError, match=r"NoiseLevels\.sd must be at least 0"):
        NoiseLevels(-0.1)
    with pytest.raises(ScenarioError, match=r"Partitioned\.features must be a FeatureSkew or None"):
        partitioned(ToyClients(3), Iid(), 2, features=0.1)
