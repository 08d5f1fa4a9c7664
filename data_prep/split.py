"""Splitting samples into a training and a test set by a stream that belongs to the data alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from raysplit.errors import PopulationError
from raysplit.population.arrow_writer import ClientData
from raysplit.rng import stream


def split_client(name: str, x: np.ndarray, y: np.ndarray, *, seed: int) -> ClientData:
    """``x`` [n, C, H, W] and ``y`` [n], split as LEAF does: nine tenths to train, order kept.

    The training set has floor(0.9 n) samples but at least one; the stream belongs to this client's name alone, so a
    client's split does not depend on which other clients there are. A client of one sample trains on it and has no
    test set (LEAF leaves such clients out).
    """
    train = max(1, len(y) * 9 // 10)
    chosen = np.zeros(len(y), dtype=bool)
    chosen[stream(seed, f"data_prep split {name}").permutation(len(y))[:train]] = True
    return ClientData(name, x[chosen], y[chosen], x[~chosen], y[~chosen])


def split_stratified(name: str, x: np.ndarray, y: np.ndarray, *, seed: int) -> ClientData:
    """``x`` [n, C, H, W] and ``y`` [n], split nine to one within each class, order kept."""
    test = stratified(name, y, seed=seed)
    return ClientData(name, x[~test], y[~test], x[test], y[test])


def stratified(name: str, y: np.ndarray, *, seed: int) -> np.ndarray:
    """Which of the samples with labels ``y`` [n] are held out: bool [n], a tenth of each class, rounded half up.

    A class of fewer than five samples is all training. Which samples they are follows from ``seed``, ``name``, the
    class and its size.
    """
    held_out = np.zeros(len(y), dtype=bool)
    for label in np.unique(y):
        of_label = np.flatnonzero(y == label)
        order = stream(seed, f"data_prep stratified split {name}", int(label)).permutation(len(of_label))
        held_out[of_label[order[: (len(of_label) + 5) // 10]]] = True
    return held_out


def split_in_order(name: str, x: np.ndarray, y: np.ndarray, gap: int = 79) -> ClientData:
    """``x`` [n, …] and ``y`` [n], windows that overlap: the first floor(0.9 n) to train, but at least one, the rest
    without its first ``gap`` to test, as LEAF splits Shakespeare's windows of 80."""
    train = max(1, len(y) * 9 // 10)
    return ClientData(name, x[:train], y[:train], x[train + gap :], y[train + gap :])


def whole(name: str, x: np.ndarray, y: np.ndarray) -> ClientData:
    """``x`` [n, …] and ``y`` [n] as one training set."""
    return ClientData(name, x, y, x[:0], y[:0])


def by_user(clients: Iterable[ClientData], *, seed: int) -> Iterator[ClientData]:
    """Clients that are not split yet, floor(0.9 n) of them to train and the others, which come last, to test on, as LEAF
    splits by user; which ones follows from ``seed`` and n."""
    gathered = list(clients)
    train = len(gathered) * 9 // 10
    if not train:
        raise PopulationError("one client cannot be split by user; leave --by out")
    order = stream(seed, "data_prep split by user").permutation(len(gathered))
    yield from (gathered[place] for place in np.sort(order[:train]))
    for place in np.sort(order[train:]):
        name, x, y, none, no_labels = gathered[place]
        yield ClientData(name, none, no_labels, x, y)


def check_by(by: str, split: bool) -> None:
    """Raise ``PopulationError`` unless ``by`` is LEAF's ``user`` or ``sample``, and the data not split already."""
    if by not in ("sample", "user"):
        raise PopulationError(f"--by must be user or sample, as LEAF's -t, not {by!r}")
    if split and by == "user":
        raise PopulationError("LEAF has split these json files already; leave --by out, or take its folder all_data")


def at_least(least: int, clients: Iterable[ClientData]) -> Iterator[ClientData]:
    """The clients of ``least`` samples or more, training and test together; raises ``PopulationError`` where there are
    none."""
    some = False
    for client in clients:
        if len(client.train_y) + len(client.test_y) >= least:
            some = True
            yield client
    if not some:
        raise PopulationError(f"no client has {least} samples or more; choose a smaller --least")
