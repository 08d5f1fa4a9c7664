"""Splits are partitions that keep the order, hold out what they say, and follow from seed and name alone."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from data_prep.split import split_client, split_stratified, stratified

labels = st.lists(st.integers(0, 4), min_size=1, max_size=120).map(np.array)


def numbered(y: np.ndarray) -> np.ndarray:
    """Samples that say which they are."""
    return np.arange(len(y), dtype=np.float64)[:, None, None, None]


@given(labels, st.integers(0, 3))
def test_both_splits_are_partitions_in_order(y: np.ndarray, seed: int) -> None:
    for split in (split_client, split_stratified):
        client = split("name", numbered(y), y, seed=seed)
        train, test = (x.reshape(-1).astype(int) for x in (client.train_x, client.test_x))
        assert sorted([*train, *test]) == list(range(len(y)))
        assert (np.diff(train) > 0).all() and (np.diff(test) > 0).all()
        assert np.array_equal(client.train_y, y[train]) and np.array_equal(client.test_y, y[test])


@given(labels, st.integers(0, 3))
def test_a_tenth_of_each_class_is_held_out_rounded_half_up(y: np.ndarray, seed: int) -> None:
    held_out = stratified("name", y, seed=seed)
    for label in range(5):
        count = int((y == label).sum())
        assert (held_out & (y == label)).sum() == (2 * count + 10) // 20
    assert np.array_equal(held_out, stratified("name", y, seed=seed))


@given(labels)
def test_a_class_is_split_whatever_the_other_classes_are(y: np.ndarray) -> None:
    together = stratified("name", y, seed=0)
    for label in np.unique(y):
        alone = stratified("name", y[y == label], seed=0)
        assert np.array_equal(together[y == label], alone)


def test_seed_and_name_move_the_split() -> None:
    y = np.zeros(200, dtype=np.int64)
    splits = [stratified(name, y, seed=seed) for name, seed in (("a", 0), ("b", 0), ("a", 1))]
    assert len({split.tobytes() for split in splits}) == 3
