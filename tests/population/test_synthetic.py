"""Synthetic writers: determinism, the shape of the population, hands that persist, classes that can be learnt."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest
import torch

from raysplit.errors import PopulationError
from raysplit.population.handwriting.glyphs import ALLOGRAPHS, CHARACTERS, FREQUENCY
from raysplit.population.handwriting.strokes import POINTS, WAYS, glyph_table
from raysplit.population.handwriting.synthetic import SyntheticWriters, synthetic_writers
from raysplit.population.hashing import uniforms
from raysplit.population.population import Population, PopulationSpec
from raysplit.population.preview import contact_sheet


def gather(population: Population, clients: range, part: str = "train") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    sets = [getattr(population, part)(client) for client in clients]
    images = torch.cat([s.x for s in sets]).numpy().reshape(-1, 784)
    labels = torch.cat([s.y for s in sets]).numpy()
    writers = np.repeat(np.array(clients), [len(s.y) for s in sets])
    return images, labels, writers


@pytest.fixture(scope="module")
def population() -> Population:
    return synthetic_writers(seed=5).open()


def test_format(population: Population) -> None:
    info = population.info
    assert (info.clients, info.classes, info.shape, info.synthetic) == (3550, 62, (1, 28, 28), True)
    assert "SYNTHETIC" in info.description
    assert isinstance(synthetic_writers(), PopulationSpec)
    for part in (population.train(3), population.test(3)):
        assert part.x.dtype == torch.uint8 and part.x.shape[1:] == (1, 28, 28) and part.x.is_contiguous()
        assert part.y.dtype == torch.int64 and part.y.shape == part.x.shape[:1]
    x = population.train(3).x
    assert x.float().mean() > 200 and x.amin(dim=(1, 2, 3)).max() < 160  # white paper, ink in every image
    corners = x[:, 0, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners == 255).float().mean() > 0.99


def test_same_bytes_whatever_the_order_and_threads(population: Population) -> None:
    first = population.train(7)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        again = synthetic_writers(seed=5).open()
        again.test(7), again.train(2999)
        second = again.train(7)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(first.x, second.x) and torch.equal(first.y, second.y)
    assert not torch.equal(first.x[:50], synthetic_writers(seed=6).open().train(7).x[:50])


def test_a_writer_does_not_depend_on_how_many_there_are() -> None:
    few, many = synthetic_writers(100, seed=1).open(), synthetic_writers(1_000_000, seed=1).open()
    for client in (0, 42, 99):
        for part in ("train", "test"):
            a, b = getattr(few, part)(client), getattr(many, part)(client)
            assert torch.equal(a.x, b.x) and torch.equal(a.y, b.y)
    ids = np.arange(100)
    assert (few.train_sizes(ids) == many.train_sizes(ids)).all()
    assert few.info.digest != many.info.digest


def test_samples_handed_out_are_the_callers_own(population: Population) -> None:
    first = population.train(11)
    kept = first.x.clone()
    first.x.zero_()
    assert torch.equal(population.train(11).x, kept)


def test_sizes_are_leafs() -> None:
    population = synthetic_writers(20_000).open()
    ids = np.arange(20_000)
    train, test = population.train_sizes(ids), population.test_sizes(ids)
    total = train + test
    assert train.dtype == test.dtype == np.int64
    assert abs(total.mean() - 226.83) < 2.5 and abs(total.std() - 88.94) < 2.5
    assert 20 <= total.min() < 40 and 480 < total.max() <= 531
    assert abs(test.sum() / total.sum() - 0.1) < 0.005 and test.min() >= 1
    shuffled = np.random.default_rng(0).permutation(ids)[:500]
    assert (population.train_sizes(shuffled) == train[shuffled]).all()
    assert len(population.train(17).y) == train[17] and len(population.test(17).y) == test[17]


@pytest.mark.parametrize("mean, sd", [(50, 10), (5, 2), (300, 0), (12, 5)])
def test_other_sizes(mean: float, sd: float) -> None:
    population = synthetic_writers(4000, mean_samples=mean, sd_samples=sd, test_share=0.2).open()
    ids = np.arange(4000)
    total = population.train_sizes(ids) + population.test_sizes(ids)
    assert abs(total.mean() - mean) < 0.02 * mean + 0.05 and abs(total.std() - sd) < 0.05 * sd + 0.05
    assert population.train_sizes(ids).min() >= 1


def test_no_test_share() -> None:
    population = synthetic_writers(3, test_share=0).open()
    assert population.test_sizes(np.arange(3)).sum() == 0
    assert population.test(0).x.shape == (0, 1, 28, 28) and population.test(0).y.shape == (0,)


def test_classes_are_skewed_towards_digits_and_by_writer(population: Population) -> None:
    _, labels, writers = gather(population, range(80))
    assert set(labels) == set(range(62))
    assert 0.4 < (labels < 10).mean() < 0.6
    own = np.stack(
        [np.bincount(labels[writers == writer], minlength=62) / (writers == writer).sum() for writer in range(80)]
    )
    even = synthetic_writers(seed=5, skew=0).open()
    _, labels, writers = gather(even, range(80))
    same = np.stack(
        [np.bincount(labels[writers == writer], minlength=62) / (writers == writer).sum() for writer in range(80)]
    )
    assert own.std(0).sum() > 1.3 * same.std(0).sum()


def test_train_and_test_share_no_image(population: Population) -> None:
    for client in range(20):
        train = {image.numpy().tobytes() for image in population.train(client).x}
        test = [image.numpy().tobytes() for image in population.test(client).x]
        assert not train.intersection(test)
        assert len(train) == len(population.train(client).y)


def test_hands_persist(population: Population) -> None:
    """A writer's training digits resemble their own test digits more than other writers' of the same class."""
    images, labels, writers = gather(population, range(30))
    tests, test_labels, test_writers = gather(population, range(30), "test")
    images, tests = 255.0 - images, 255.0 - tests
    nearer = []
    for image, label, writer in zip(tests, test_labels, test_writers, strict=True):
        own = images[(labels == label) & (writers == writer)]
        others = [images[(labels == label) & (writers == w)] for w in range(30) if w != writer]
        if label < 10 and len(own) >= 3:
            distance = np.sqrt(((own.mean(0) - image) ** 2).sum())
            other = [np.sqrt(((group.mean(0) - image) ** 2).sum()) for group in others if len(group) >= 3]
            nearer.append(np.mean(np.array(other) > distance))
    assert len(nearer) > 100 and np.mean(nearer) > 0.85  # 0.5 without persistent hands


def test_classes_can_be_learnt_but_not_at_once(population: Population) -> None:
    """Nearest class mean on unseen writers: far above chance (1/62), far below solved."""
    images, labels, _ = gather(population, range(100))
    seen = np.stack([images[labels == c].mean(0) for c in range(62)])
    tests, truth, _ = gather(population, range(500, 540), "test")
    distance = (seen**2).sum(1) - 2.0 * tests.astype(np.float64) @ seen.T
    accuracy = (distance.argmin(1) == truth).mean()
    assert 0.25 < accuracy < 0.75


def test_a_million_writers_cost_nothing() -> None:
    synthetic_writers().open().train(0)  # the glyph table is built once a process
    tracemalloc.start()
    started = time.perf_counter()
    population = synthetic_writers(1_000_000).open()
    sizes = population.train_sizes(np.array([0, 999_999]))
    elapsed = time.perf_counter() - started
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(sizes) == 2 and elapsed < 1.0 and peak < 2_000_000
    assert len(population.train(999_999).y) == sizes[1]


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({"writers": 0}, "writers must lie in 1"),
        ({"writers": 2.5}, "writers must be a whole number, not 2.5"),
        ({"writers": True}, "whole number"),
        ({"seed": "a"}, "seed must be a whole number"),
        ({"mean_samples": -3}, "mean_samples must lie in"),
        ({"mean_samples": float("nan")}, "mean_samples must be a number"),
        ({"sd_samples": 1000}, "sd_samples must lie in 0"),
        ({"mean_samples": 1.2, "sd_samples": 1.2}, "too large for mean_samples=1.2"),
        ({"test_share": 1}, "test_share must lie in 0"),
        ({"variation": -1}, "variation must lie in"),
        ({"skew": "much"}, "skew must be a number"),
    ],
)
def test_bad_parameters_get_one_sentence(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(PopulationError) as caught:
        synthetic_writers(**wrong)  # type: ignore[arg-type]
    message = str(caught.value)
    assert words in message and "\n" not in message and message.endswith(".")


def test_unknown_client_gets_one_sentence() -> None:
    population = synthetic_writers(10).open()
    for client in (10, -1):
        with pytest.raises(PopulationError, match=f"Client {client} does not exist"):
            population.train(client)


def test_digest_names_the_data() -> None:
    assert synthetic_writers().open().info.digest == SyntheticWriters().open().info.digest
    assert (
        synthetic_writers(mean_samples=200).open().info.digest
        == synthetic_writers(mean_samples=200.0).open().info.digest
    )
    digests = {
        spec.open().info.digest
        for spec in (synthetic_writers(), synthetic_writers(seed=1), synthetic_writers(variation=0.5))
    }
    assert len(digests) == 3


def test_extremes_draw() -> None:
    for spec in (
        synthetic_writers(3, variation=0, skew=0),
        synthetic_writers(3, variation=4, skew=4),
        synthetic_writers(3, mean_samples=1, sd_samples=0),
        synthetic_writers(3, seed=-(10**30)),
    ):
        part = spec.open().train(2)
        assert part.x.shape[0] == len(part.y) >= 1


def test_drawings_cover_every_class() -> None:
    table = glyph_table()
    assert list(ALLOGRAPHS) == list(CHARACTERS) and len(FREQUENCY) == 62
    assert table.bends.shape == (table.last[-1] + 1, WAYS, POINTS)
    assert np.isfinite(table.points).all() and np.abs(table.points).max() < 1.6
    assert (table.after > table.before).all()


def test_uniforms_are_uniform_and_named() -> None:
    draw = uniforms(0, "a", np.arange(50_000))
    assert draw.min() > 0 and draw.max() < 1
    assert np.abs(np.histogram(draw, bins=20, range=(0, 1))[0] - 2500).max() < 250
    assert abs(np.corrcoef(draw, uniforms(0, "b", np.arange(50_000)))[0, 1]) < 0.02
    assert abs(np.corrcoef(draw[1:], draw[:-1])[0, 1]) < 0.02
    assert (uniforms(0, "a", np.array([7, 3])) == draw[[7, 3]]).all()


def test_contact_sheet(population: Population) -> None:
    sheet = contact_sheet(population, [0, 1, 2], samples=12)
    assert sheet.shape == (3 * 30, 12 * 30) and sheet.dtype == np.uint8 and sheet.min() < 50
