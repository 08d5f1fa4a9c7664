"""``partitioned()``: any population taken as a pool and dealt anew to virtual clients.

Only the assignment is held, one number a sample; samples are read through the pool when a client is read, so
reading one client never copies the pool.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import torch

from raysplit import rng
from raysplit.errors import PopulationError, ScenarioError
from raysplit.parts.canonical import to_json
from raysplit.parts.part import part, within
from raysplit.population.opening import open_population
from raysplit.population.partition.feature_skew import FeatureSkew
from raysplit.population.partition.filling import fill
from raysplit.population.partition.partitioner import Partitioner, even, hand_out, unbiased
from raysplit.population.partition.pool import Part, Pool
from raysplit.population.population import PopulationInfo, PopulationSpec, Samples


@part
class Partitioned(PopulationSpec):
    """The samples of ``pool`` dealt to ``clients`` virtual clients by ``by``: every training and every test sample to
    exactly one.

    ``test``: ``"same"``, each client's test set follows its training set: of every class (or, for partitioners that
    ignore labels, of all) it gets in proportion to its training samples, rounded without bias; pool clients keep their
    own under ``Natural``. ``"iid"``: equal sizes at random. ``"pool"``: every client is evaluated on the whole pool's
    test set. ``features``: how samples look at each client, training and test alike, but not the pool's test set.

    ``empty="fill"``: a client that was dealt fewer than ``at_least`` training samples gets random ones of whoever has
    most (``filling.py``). ``empty="leave_out"``: clients that got nothing do not exist; the others close up, and
    ``info.clients`` says how many are left.

    The same spec gives the same bytes with the same numpy on every machine. Opening reads all labels once where ``by``
    or ``test`` needs them. Where the pool makes samples when they are read (``synthetic_writers``), every read makes
    all samples of the pool clients it touches: write such a pool to a file first.
    """

    pool: PopulationSpec
    by: Partitioner
    clients: int
    seed: int = 0
    test: Literal["same", "iid", "pool"] = "same"
    features: FeatureSkew | None = None
    at_least: int = 1
    empty: Literal["fill", "leave_out"] = "fill"

    def __post_init__(self) -> None:
        within("Partitioned.clients", self.clients, 1, 2**31 - 1)
        within("Partitioned.at_least", self.at_least, 1)
        if self.empty == "leave_out" and self.at_least > 1:
            raise ScenarioError(
                f"Partitioned(empty='leave_out') leaves out clients with nothing, so at_least={self.at_least} needs "
                "empty='fill'"
            )

    def open(self) -> OpenPartitioned:
        """Open the pool and deal it; raises ``PopulationError`` where it cannot be dealt so."""
        return OpenPartitioned(self)


def partitioned(
    pool: PopulationSpec,
    by: Partitioner,
    clients: int,
    seed: int = 0,
    test: Literal["same", "iid", "pool"] = "same",
    features: FeatureSkew | None = None,
    at_least: int = 1,
    empty: Literal["fill", "leave_out"] = "fill",
) -> Partitioned:
    """A population of ``clients`` virtual clients made of another one's samples; see ``Partitioned``."""
    return Partitioned(pool, by, clients, seed, test, features, at_least, empty)


class Dealt(NamedTuple):
    """Client k owns the samples ``order[offsets[k]:offsets[k + 1]]``, ascending."""

    order: np.ndarray
    offsets: np.ndarray

    @staticmethod
    def of(owner: np.ndarray, clients: int) -> Dealt:
        """From the owner of every sample."""
        small = np.int32 if len(owner) < 2**31 else np.int64
        sizes = np.bincount(owner, minlength=clients)
        return Dealt(
            np.argsort(owner, kind="stable").astype(small), np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        )

    def samples(self, client: int) -> np.ndarray:
        return self.order[self.offsets[client] : self.offsets[client + 1]].astype(np.int64)

    def sizes(self, clients: np.ndarray) -> np.ndarray:
        return self.offsets[clients + 1] - self.offsets[clients]


class OpenPartitioned:
    """An open ``Partitioned``: a ``Population``. Pickling one opens it anew from its spec."""

    def __init__(self, spec: Partitioned) -> None:
        self._spec = spec
        self._pool = open_population(spec.pool)
        self._parts: dict[Part, Pool] = {"train": Pool(self._pool, "train"), "test": Pool(self._pool, "test")}
        train, test = self._parts["train"], self._parts["test"]
        owner = np.ascontiguousarray(spec.by.deal(train, spec.clients, spec.seed))
        _check_dealt(owner, train.samples, spec)
        renamed = np.arange(spec.clients)
        moved = 0
        if spec.empty == "fill":
            moved = fill(owner, spec.clients, spec.at_least, rng.stream(spec.seed, "partition filling"))
        else:
            kept = np.bincount(owner, minlength=spec.clients) > 0
            renamed = np.where(kept, np.cumsum(kept) - 1, -1)
            owner = renamed[owner]
        clients = int(renamed.max(initial=-1)) + 1
        if clients == 0:
            raise PopulationError(f"population {self._pool.info.name!r} has no training samples to deal")
        self._dealt: dict[Part, Dealt] = {"train": Dealt.of(owner, clients)}
        if spec.test != "pool":
            self._dealt["test"] = Dealt.of(self._test_owner(owner, clients, renamed), clients)
        for pool in (train, test):
            pool.__dict__.pop("labels", None)  # they were needed for dealing only
        self._info = self._described(clients, moved)

    def __reduce__(self) -> tuple[Callable[[Partitioned], OpenPartitioned], tuple[Partitioned]]:
        return OpenPartitioned, (self._spec,)

    @property
    def info(self) -> PopulationInfo:
        return self._info

    def train_sizes(self, clients: np.ndarray) -> np.ndarray:
        """Training samples of each of ``clients``: int64 [len(clients)]."""
        return self._dealt["train"].sizes(self._checked(clients))

    def test_sizes(self, clients: np.ndarray) -> np.ndarray:
        """Test samples of each of ``clients``: int64 [len(clients)]."""
        ids = self._checked(clients)
        if "test" in self._dealt:
            return self._dealt["test"].sizes(ids)
        return np.full(len(ids), self._parts["test"].samples, dtype=np.int64)

    def train(self, client: int) -> Samples:
        """The training set of one client, in the order of the pool."""
        return self._read(client, "train")

    def test(self, client: int) -> Samples:
        """The test set of one client; n may be 0."""
        return self._read(client, "test")

    def labels(self, client: int, part: Part) -> np.ndarray:
        """Labels of one client, int64 [n], without reading its samples where the pool can do that."""
        return self._parts[part].read_labels(self.samples(client, part))

    def samples(self, client: int, part: Part) -> np.ndarray:
        """Which samples of the pool one client owns, as numbers in pool order: int64 [n], ascending."""
        client = int(self._checked(np.asarray([client]))[0])
        if part in self._dealt:
            return self._dealt[part].samples(client)
        return np.arange(self._parts[part].samples, dtype=np.int64)

    def _read(self, client: int, part: Part) -> Samples:
        x, y = self._parts[part].read(self.samples(client, part))
        features = self._spec.features
        if features is None or part not in self._dealt:
            return Samples(x, y)
        stream = rng.stream(self._spec.seed, f"feature skew {part}", client)
        seen = features.change(x.numpy(), int(client), self._info.clients, stream)
        if not isinstance(seen, np.ndarray) or seen.shape != tuple(x.shape) or seen.dtype != x.numpy().dtype:
            got = f"{seen.dtype}{list(seen.shape)}" if isinstance(seen, np.ndarray) else type(seen).__name__
            raise PopulationError(
                f"{type(features).__name__}.change() must return as many samples of the same kind, "
                f"{x.numpy().dtype}{list(x.shape)}, but of client {client} it returned {got}"
            )
        return Samples(torch.from_numpy(seen), y)

    def _checked(self, clients: np.ndarray) -> np.ndarray:
        ids = np.asarray(clients, dtype=np.int64)
        if ids.size and (ids.min() < 0 or ids.max() >= self._info.clients):
            raise IndexError(f"client ids must lie in 0..{self._info.clients - 1}")
        return ids

    def _test_owner(self, owner: np.ndarray, clients: int, renamed: np.ndarray) -> np.ndarray:
        """The client of every test sample; ``owner``: of every training sample, ``renamed``: new id by dealt id, -1 for
        none."""
        spec, train, test = self._spec, self._parts["train"], self._parts["test"]
        everything, seed = np.arange(test.samples), spec.seed
        found = np.full(test.samples, -1, dtype=np.int64)
        if spec.test == "iid":
            hand_out(everything, even(test.samples, clients), found, rng.stream(seed, "partition test", 0))
            return found
        if spec.by.follows == "labels":
            for c in range(test.classes):
                shares = np.bincount(owner[train.labels == c], minlength=clients)
                if shares.sum():
                    stream, samples = rng.stream(seed, "partition test", 1, c), np.flatnonzero(test.labels == c)
                    hand_out(samples, unbiased(len(samples), shares, stream), found, stream)
        elif spec.by.follows == "pool_clients":
            found = renamed[spec.by.deal(test, spec.clients, seed)]
        # What no class or pool client decides goes by size: everything here, or test samples of classes that nobody
        # trains on.
        rest, stream = np.flatnonzero(found < 0), rng.stream(seed, "partition test", 2)
        hand_out(rest, unbiased(len(rest), np.bincount(owner, minlength=clients), stream), found, stream)
        return found

    def _described(self, clients: int, moved: int) -> PopulationInfo:
        spec, pool = self._spec, self._pool.info
        form = {name: value for name, value in to_json(spec).items() if name != "pool"}
        digest = hashlib.blake2b(b"raysplit partition 1\n", digest_size=32)
        digest.update(json.dumps([pool.digest, form], sort_keys=True).encode())
        for name, dealt in sorted(self._dealt.items()):
            digest.update(name.encode() + dealt.order.astype("<i8").tobytes() + dealt.offsets.astype("<i8").tobytes())
        filled = f"; {moved} samples moved to clients with fewer than {spec.at_least}" if moved else ""
        left_out = f"; {spec.clients - clients} that got nothing left out" if clients < spec.clients else ""
        return PopulationInfo(
            name=f"{pool.name} by {spec.by}",
            clients=clients,
            classes=pool.classes,
            shape=pool.shape,
            synthetic=pool.synthetic,
            dtype=pool.dtype,
            digest=digest.hexdigest(),
            description=f"{pool.description or pool.name}; dealt to {spec.clients} clients by {spec.by}{filled}{left_out}",
        )


def _check_dealt(owner: np.ndarray, samples: int, spec: Partitioned) -> None:
    """A partitioner may be a user's own: hold it to its contract."""
    whole = owner.shape == (samples,) and owner.dtype.kind in "iu"
    if not whole or (samples and (owner.min() < 0 or owner.max() >= spec.clients)):
        raise PopulationError(
            f"{type(spec.by).__name__}.deal() must give a client in 0..{spec.clients - 1} for each of {samples} "
            f"samples, but it gave {owner.dtype}{list(owner.shape)}"
        )
