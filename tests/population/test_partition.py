"""Partitioners: every sample at one client and no client empty, whatever the pool; and the laws that each one
promises."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysplit import rng
from raysplit.errors import PopulationError, ScenarioError
from raysplit.parts.part import part
from raysplit.population.arrow import ArrowFile
from raysplit.population.arrow_writer import ClientData, write_population
from raysplit.population.partition.classes_per_client import ClassesPerClient
from raysplit.population.partition.dirichlet import Dirichlet
from raysplit.population.partition.feature_skew import NoiseLevels
from raysplit.population.partition.filling import fill
from raysplit.population.partition.iid import Iid
from raysplit.population.partition.natural import Natural
from raysplit.population.partition.partitioned import partitioned
from raysplit.population.partition.partitioner import even, largest_remainder, unbiased
from raysplit.population.partition.quantity_skew import LogNormalSizes, QuantitySkew
from raysplit.population.partition.shards import Shards
from raysplit.population.population import PopulationSpec
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.splitfed_v2 import SplitFedV2
from tests.population.tiny_population import CLASSES, SHAPE, make_clients, write
from tests.toys import ToyClients, play, toy

BY = [
    Iid(),
    Natural(),
    Dirichlet(0.3),
    Dirichlet(0.3, balanced=True),
    Dirichlet(0.001),
    Dirichlet(0.001, balanced=True),
    Shards(),
    ClassesPerClient(2),
    QuantitySkew(0.5),
    LogNormalSizes(1.5),
]
NAMED = pytest.mark.parametrize("by", BY, ids=str)


def ids(population):
    return np.arange(population.info.clients)


def numbers(population, part):
    """Which pool samples each client owns."""
    return [population.samples(int(client), part).tolist() for client in ids(population)]


def histogram(population, part="train"):
    """Samples of each client and class."""
    rows = [np.bincount(population.labels(int(k), part), minlength=population.info.classes) for k in ids(population)]
    return np.array(rows)


@part
class Labelled(PopulationSpec):
    """One pool client with ``per_class`` training samples of each of ``classes`` classes, a fifth as many for tests."""

    classes: int
    per_class: int

    def open(self):
        return OpenLabelled(self)


class OpenLabelled:
    def __init__(self, spec):
        from raysplit.population.population import PopulationInfo

        self.sizes = {"train": spec.classes * spec.per_class, "test": spec.classes * spec.per_class // 5}
        self.info = PopulationInfo("labelled", 1, spec.classes, (1, 1, 1), True, repr(spec))

    def train_sizes(self, clients):
        return np.full(len(clients), self.sizes["train"])

    def test_sizes(self, clients):
        return np.full(len(clients), self.sizes["test"])

    def labels(self, client, part):
        return np.arange(self.sizes[part]) % self.info.classes

    def train(self, client):
        raise AssertionError("labels are to be had without samples")

    test = train


@settings(deadline=None)
@given(st.sampled_from(BY), st.integers(1, 12), st.integers(0, 9), st.sampled_from(["same", "iid"]), st.booleans())
def test_every_sample_is_at_exactly_one_client_and_no_client_is_empty(by, clients, seed, test, leave_out):
    pool = ToyClients(15)
    empty = "leave_out" if leave_out else "fill"
    if isinstance(by, ClassesPerClient) and clients * by.classes < 5:
        clients = 3
    population = partitioned(pool, by, clients, seed, test, empty=empty).open()
    source = pool.open()
    total = {"train": source.train_sizes(ids(source)).sum(), "test": source.test_sizes(ids(source)).sum()}
    for which, sizes in (("train", population.train_sizes), ("test", population.test_sizes)):
        dealt = numbers(population, which)
        assert sorted(sample for samples_of_client in dealt for sample in samples_of_client) == list(
            range(total[which])
        )
        assert all(samples_of_client == sorted(samples_of_client) for samples_of_client in dealt)
        assert sizes(ids(population)).tolist() == [len(samples_of_client) for samples_of_client in dealt]
    assert population.train_sizes(ids(population)).min() >= 1
    assert population.info.clients <= clients and (leave_out or population.info.clients == clients)


@NAMED
def test_samples_are_the_pools_own(by, tmp_path):
    """Read through a memory map and through a population without views, pixel by pixel, against the pool in one
    piece."""
    clients = make_clients(24)
    write(tmp_path / "tiny.arrow", clients)
    x = {"train": np.concatenate([c.train_x for c in clients]), "test": np.concatenate([c.test_x for c in clients])}
    y = {"train": np.concatenate([c.train_y for c in clients]), "test": np.concatenate([c.test_y for c in clients])}
    population = partitioned(ArrowFile(str(tmp_path / "tiny.arrow")), by, 8).open()
    nested = partitioned(Hidden(str(tmp_path / "tiny.arrow")), by, 8).open()
    assert population.info.shape == SHAPE and population.info.classes == CLASSES
    for client in range(8):
        for which in ("train", "test"):
            chosen = population.samples(client, which)
            for opened in (population, nested):
                read = getattr(opened, which)(client)
                assert (read.x.numpy() == x[which][chosen]).all() and (read.y.numpy() == y[which][chosen]).all()
                assert (opened.labels(client, which) == y[which][chosen]).all()


def test_numbers_are_dealt_as_bytes_are(tmp_path):
    x = np.random.default_rng(0).standard_normal((30, 1, 1, 4)).astype(np.float32)
    client = ClientData("all", x[:24], np.arange(24) % 3, x[24:], np.arange(6) % 3)
    write_population(tmp_path / "table.arrow", [client], name="table", shape=(1, 1, 4), classes=3, dtype="float32")
    population = partitioned(ArrowFile(str(tmp_path / "table.arrow")), Dirichlet(1.0), 4).open()
    assert population.info.dtype == "float32"
    for one_client in range(4):
        assert (population.train(one_client).x.numpy() == x[population.samples(one_client, "train")]).all()
    noisy = partitioned(ArrowFile(str(tmp_path / "table.arrow")), Dirichlet(1.0), 4, features=NoiseLevels(0.1)).open()
    change = np.concatenate([(noisy.train(k).x - population.train(k).x).numpy() for k in range(4)])
    assert change.dtype == np.float32 and 0.03 < change.std() < 0.12


@part
class Hidden(PopulationSpec):
    """An Arrow population whose views are hidden: what any other population looks like."""

    path: str

    def open(self):
        from types import SimpleNamespace

        opened = ArrowFile(self.path).open()
        names = ("info", "train_sizes", "test_sizes", "train", "test")
        return SimpleNamespace(**{name: getattr(opened, name) for name in names})


@NAMED
def test_the_same_spec_gives_the_same_bytes_and_another_seed_others(by):
    def facts(seed=0):
        opened = partitioned(ToyClients(15), by, 8, seed).open()
        return numbers(opened, "train"), numbers(opened, "test"), opened.info.digest

    again = pickle.loads(pickle.dumps(partitioned(ToyClients(15), by, 8).open()))
    assert facts() == facts() == (numbers(again, "train"), numbers(again, "test"), again.info.digest)
    assert facts(1)[2] != facts()[2] and facts(1)[0] != facts()[0]


def test_assignments_do_not_change_from_one_release_to_the_next():
    """A run's record names a digest; these are what they were when partitioners were first released."""
    found = {
        str(by): rng.key(0, str(numbers(partitioned(Labelled(4, 15), by, 6).open(), "train"))) % 10**6
        for by in BY
        if by != Natural()
    }
    assert found == PINNED


PINNED = {
    "Iid()": 386224,
    "Dirichlet(alpha=0.3, balanced=False)": 14035,
    "Dirichlet(alpha=0.3, balanced=True)": 703247,
    "Dirichlet(alpha=0.001, balanced=False)": 141139,
    "Dirichlet(alpha=0.001, balanced=True)": 887410,
    "Shards(per_client=2)": 250932,
    "ClassesPerClient(classes=2)": 396942,
    "QuantitySkew(alpha=0.5)": 773838,
    "LogNormalSizes(sigma=1.5)": 2068,
}


def test_the_digest_names_pool_and_partition():
    base = partitioned(ToyClients(15), Iid(), 5)
    others = [
        partitioned(ToyClients(15, smallest=4), Iid(), 5),
        partitioned(ToyClients(15), QuantitySkew(1.0), 5),
        partitioned(ToyClients(15), QuantitySkew(2.0), 5),
        partitioned(ToyClients(15), Iid(), 6),
        partitioned(ToyClients(15), Iid(), 5, seed=1),
        partitioned(ToyClients(15), Iid(), 5, test="iid"),
        partitioned(ToyClients(15), Iid(), 5, test="pool"),
        partitioned(ToyClients(15), Iid(), 5, at_least=2),
    ]
    assert len({spec.open().info.digest for spec in [base, *others]}) == len(others) + 1


@given(st.integers(0, 1000), st.lists(st.floats(1e-6, 1), min_size=1, max_size=30), st.integers(0, 5))
def test_whole_numbers_add_up_and_stay_within_one_of_the_exact_share(total, shares, seed):
    shares = np.array(shares)
    exact = total * shares / shares.sum()
    for cut in (largest_remainder, unbiased):
        counts = cut(total, shares, rng.stream(seed, "test"))
        assert counts.sum() == total and (counts >= 0).all()
        assert (abs(counts - exact) < 1 + 1e-9).all()


def test_unbiased_rounding_is():
    shares = np.array([0.5, 0.3, 0.19, 0.01])
    counts = np.array([unbiased(3, shares, rng.stream(seed, "test")) for seed in range(4000)])
    assert (abs(counts.mean(0) - 3 * shares) < 5 * 0.5 / np.sqrt(4000)).all()


@pytest.mark.parametrize("clients", [1, 7, 60, 100])
def test_iid_sizes_are_equal(clients):
    population = partitioned(Labelled(10, 60), Iid(), clients).open()
    assert sorted(population.train_sizes(ids(population)).tolist()) == sorted(even(600, clients).tolist())
    assert abs(histogram(population).mean(0) - 60 / clients).max() < 1e-9


def test_dirichlet_shares_have_the_moments_of_the_law():
    """Dir_K(a): mean 1/K, variance (K - 1)/(K²(Ka + 1)), over 400 classes; 200 samples a class round by 1/200 at
    most."""
    clients, alpha, classes = 10, 0.5, 400
    counts = histogram(partitioned(Labelled(classes, 200), Dirichlet(alpha), clients).open())
    shares = counts / 200
    assert (counts.sum(0) == 200).all()
    variance = (clients - 1) / (clients**2 * (clients * alpha + 1))
    assert abs(shares.mean(1) - 1 / clients).max() < 5 * np.sqrt(variance / classes)
    assert abs(shares.var() / variance - 1) < 0.1


def test_balanced_dirichlet_mixes_have_the_moments_of_the_law():
    """Sizes are fixed; of a mix p, 50 samples are drawn; the last clients take what is left, which makes mixes a little
    less skew."""
    classes, alpha, clients, size = 8, 0.4, 600, 50
    population = partitioned(
        Labelled(classes, 3 * size * clients // classes), Dirichlet(alpha, balanced=True), clients * 3
    ).open()
    mixes = histogram(population) / size
    assert set(population.train_sizes(ids(population)).tolist()) == {size}
    assert abs(mixes.mean(0) - 1 / classes).max() < 1e-9
    law = (classes - 1) / (classes**2 * (classes * alpha + 1))
    law += (1 / classes - 1 / classes**2 - law) / size  # of sampling `size` samples from the mix
    assert 0.6 * law < mixes.var() < 1.2 * law


@pytest.mark.parametrize("alpha", [1e-4, 1e6])
@pytest.mark.parametrize("by", [Dirichlet, lambda alpha: Dirichlet(alpha, balanced=True), QuantitySkew])
def test_the_ends_of_the_range_are_no_trouble(by, alpha):
    population = partitioned(Labelled(5, 400), by(alpha), 700).open()
    assert population.train_sizes(ids(population)).sum() == 2000


@pytest.mark.parametrize("balanced", [False, True])
def test_a_smaller_alpha_is_more_skew_and_a_huge_one_is_none(balanced):
    def distance(alpha):
        counts = histogram(partitioned(Labelled(10, 100), Dirichlet(alpha, balanced), 20).open())
        mixes = counts / counts.sum(1, keepdims=True)
        return (abs(mixes - 0.1).sum(1) / 2).mean()

    skews = [distance(alpha) for alpha in (0.01, 0.1, 1.0, 1e6)]
    assert skews == sorted(skews, reverse=True) and skews[0] > 0.6 and skews[-1] < (0.2 if balanced else 0.02)


@given(st.integers(1, 20), st.integers(1, 4), st.integers(0, 5))
@settings(deadline=None)
def test_shards_bound_the_classes_of_a_client(clients, per_client, seed):
    population = partitioned(Labelled(10, 30), Shards(per_client), clients, seed).open()
    sizes = population.train_sizes(ids(population))
    assert sizes.max() - sizes.min() <= per_client, "shards differ by at most one"
    # A shard of s samples holds at most 1 + ⌈(s - 1)/30⌉ of the classes of 30 samples.
    shard = -(-300 // (clients * per_client))
    assert (histogram(population) > 0).sum(1).max() <= per_client * (1 + -(-(shard - 1) // 30))


def test_the_paper_s_two_digits_a_client():
    """As many samples a class as whole shards: no shard crosses a border, so at most two classes a client."""
    population = partitioned(Labelled(10, 40), Shards(2), 40).open()
    assert (histogram(population) > 0).sum(1).max() == 2
    assert set(population.train_sizes(ids(population)).tolist()) == {10}


@given(st.integers(1, 40), st.integers(1, 10), st.integers(0, 5))
@settings(deadline=None)
def test_classes_per_client_are_just_as_many_and_evenly_dealt(clients, classes, seed):
    if clients * classes < 10:
        with pytest.raises(PopulationError, match=r"ask for at least \d+ clients"):
            partitioned(Labelled(10, 50), ClassesPerClient(classes), clients, seed).open()
        return
    counts = histogram(partitioned(Labelled(10, 50), ClassesPerClient(classes), clients, seed).open())
    assert ((counts > 0).sum(1) == classes).all()
    holders = (counts > 0).sum(0)
    assert holders.max() - holders.min() <= 1 and holders.sum() == clients * classes
    for c in range(10):
        of_class = counts[counts[:, c] > 0, c]
        assert of_class.max() - of_class.min() <= 1


def test_quantity_skew_has_the_moments_of_the_law():
    clients, alpha = 20, 0.7
    sizes = np.array(
        [
            partitioned(Labelled(2, 5000), QuantitySkew(alpha), clients, seed).open().train_sizes(np.arange(clients))
            for seed in range(100)
        ]
    )
    shares = sizes / 10_000
    variance = (clients - 1) / (clients**2 * (clients * alpha + 1))
    assert (sizes.sum(1) == 10_000).all() and abs(shares.var() / variance - 1) < 0.15


def test_log_normal_sizes_have_the_spread_of_the_law():
    sizes = partitioned(Labelled(2, 200_000), LogNormalSizes(0.8), 2000).open().train_sizes(np.arange(2000))
    logs = np.log(sizes)
    assert abs(logs.std() - 0.8) < 5 * 0.8 / np.sqrt(2 * 2000)
    equal = partitioned(Labelled(2, 5000), LogNormalSizes(0.0), 30).open().train_sizes(np.arange(30))
    assert equal.max() - equal.min() <= 1


def test_natural_keeps_the_pool_s_clients_and_their_tests():
    pool = ToyClients(9).open()
    population = partitioned(ToyClients(9), Natural(), 9).open()
    for client in range(9):
        for which in ("train", "test"):
            of_part, of_pool = getattr(population, which)(client), getattr(pool, which)(client)
            assert of_part.x.equal(of_pool.x) and of_part.y.equal(of_pool.y)


def test_natural_merges_whole_clients():
    pool = ToyClients(10).open()
    starts = np.concatenate([[0], np.cumsum(pool.train_sizes(np.arange(10)))])
    tests = np.concatenate([[0], np.cumsum(pool.test_sizes(np.arange(10)))])
    population = partitioned(ToyClients(10), Natural(), 4).open()
    groups = []
    for client in range(4):
        whose = set(np.searchsorted(starts, population.samples(client, "train"), side="right").tolist())
        assert whose == set(np.searchsorted(tests, population.samples(client, "test"), side="right").tolist())
        groups.append(len(whose))
    assert sorted(groups) == [2, 2, 3, 3]
    with pytest.raises(
        PopulationError, match=r"Natural\(\) cannot deal 11 clients: the pool has 10; ask for at most 10"
    ):
        partitioned(ToyClients(10), Natural(), 11).open()


@pytest.mark.parametrize("by", [Dirichlet(0.2), Shards(), ClassesPerClient(2), Dirichlet(0.2, balanced=True)], ids=str)
def test_test_sets_have_the_class_proportions_of_the_training_sets(by):
    population = partitioned(Labelled(10, 500), by, 10).open()
    assert abs(histogram(population, "test") - histogram(population) / 5).max() < 1


def test_test_sets_by_size_at_random_or_whole():
    same = partitioned(Labelled(10, 500), QuantitySkew(0.5), 10).open()
    assert abs(same.test_sizes(ids(same)) - same.train_sizes(ids(same)) / 5).max() < 1
    iid = partitioned(Labelled(10, 500), QuantitySkew(0.5), 10, test="iid").open()
    assert iid.test_sizes(ids(iid)).tolist() == [100] * 10
    whole = partitioned(ToyClients(6), Iid(), 3, test="pool").open()
    assert whole.test_sizes(ids(whole)).tolist() == [1 + 2 + 3 + 4 + 1 + 2] * 3
    assert whole.test(0).x.equal(whole.test(2).x) and len(whole.test(0).y) == 13


def test_test_samples_of_a_class_that_nobody_trains_on_are_dealt_too(tmp_path):
    x = np.zeros((6, *SHAPE), dtype=np.uint8)
    client = ClientData("only", x, np.array([0, 0, 0, 1, 1, 1]), x, np.array([4, 4, 4, 4, 0, 1]))
    write_population(tmp_path / "odd.arrow", [client], name="odd", shape=SHAPE, classes=CLASSES)
    population = partitioned(ArrowFile(str(tmp_path / "odd.arrow")), Dirichlet(1.0), 2).open()
    assert histogram(population, "test").sum(0).tolist() == [1, 1, 0, 0, 4]


@given(st.lists(st.integers(0, 30), min_size=1, max_size=15), st.integers(1, 5), st.integers(0, 3))
def test_filling_moves_exactly_what_is_missing(sizes, at_least, seed):
    owner = np.repeat(np.arange(len(sizes)), sizes)
    if sum(sizes) < len(sizes) * at_least:
        with pytest.raises(PopulationError, match=f"are not enough for {len(sizes)} clients of at least {at_least}"):
            fill(owner, len(sizes), at_least, rng.stream(seed, "test"))
        return
    before = owner.copy()
    moved = fill(owner, len(sizes), at_least, rng.stream(seed, "test"))
    after = np.bincount(owner, minlength=len(sizes))
    assert moved == (owner != before).sum() == sum(max(0, at_least - size) for size in sizes)
    assert after.min() >= at_least
    assert all(after[k] == max(size, at_least) for k, size in enumerate(sizes) if size <= at_least)


def test_a_client_that_was_dealt_nothing_is_filled_or_left_out():
    skewed = Dirichlet(0.002)
    filled = partitioned(Labelled(3, 50), skewed, 30, at_least=3).open()
    assert filled.info.clients == 30 and filled.train_sizes(ids(filled)).min() == 3
    assert "samples moved to clients with fewer than 3" in filled.info.description
    left = partitioned(Labelled(3, 50), skewed, 30, empty="leave_out").open()
    assert (
        1 <= left.info.clients < 30 and f"{30 - left.info.clients} that got nothing left out" in left.info.description
    )


def test_reading_one_client_touches_only_the_pool_clients_that_it_needs(tmp_path, monkeypatch):
    write(tmp_path / "tiny.arrow", make_clients(24))
    population = partitioned(ArrowFile(str(tmp_path / "tiny.arrow")), Natural(), 24).open()
    touched = []
    views = type(population._pool).views
    monkeypatch.setattr(type(population._pool), "views", lambda self, k: touched.append(k) or views(self, k))
    population.train(5)
    assert touched == [5]


@pytest.mark.parametrize("protocol", [FedAvg(), SplitFedV2()], ids=str)
def test_a_whole_run_on_dealt_clients(protocol):
    scenario = toy(protocol, clients=10, population=partitioned(ToyClients(15), Dirichlet(0.5), 10))
    played = play(scenario)
    sizes = scenario.population.open().train_sizes(np.arange(10))
    rows = [row for row in played.tables["clients"].to_pylist() if row["round"] == 1]
    assert [row["samples"] for row in rows] == sizes.tolist() and not played.diverged
    assert play(scenario).digest == played.digest
    other = scenario.replace(**{"population.seed": 1})
    assert play(other).digest != played.digest and other.hash != scenario.hash
    reseeded = scenario.replace(seed=1).population.open()
    assert numbers(reseeded, "train") == numbers(scenario.population.open(), "train"), "the scenario's seed has no say"


def test_natural_clients_train_to_the_bits_of_the_pool_itself():
    pool = toy(SplitFedV2())
    assert play(pool).digest == play(pool.replace(population=partitioned(ToyClients(6), Natural(), 6))).digest


@part
class Careless:
    """A user's partitioner that forgets the last sample."""

    @property
    def follows(self):
        return "sizes"

    def deal(self, pool, clients, seed):
        return np.zeros(pool.samples - 1, dtype=int)


@pytest.mark.parametrize(
    "make,error,words",
    [
        (
            lambda: partitioned(ToyClients(3), Dirichlet(0.0), 5),
            ScenarioError,
            r"Dirichlet\.alpha must be at least 0\.0001",
        ),
        (lambda: partitioned(ToyClients(3), Iid(), 0), ScenarioError, r"Partitioned\.clients must be at least 1"),
        (lambda: partitioned(ToyClients(3), "iid", 5), ScenarioError, r"Partitioned\.by must be a Partitioner"),
        (lambda: partitioned("femnist", Iid(), 5), ScenarioError, r"Partitioned\.pool must be a PopulationSpec"),
        (
            lambda: partitioned(ToyClients(3), Iid(), 5, empty="leave_out", at_least=2),
            ScenarioError,
            "so at_least=2 needs empty='fill'",
        ),
        (
            lambda: partitioned(ToyClients(1), Iid(), 5).open(),
            PopulationError,
            "3 training samples are not enough for 5 clients of at least 1; ask for at most 3 clients",
        ),
        (
            lambda: partitioned(ToyClients(1), Shards(), 5).open(),
            PopulationError,
            "cannot cut 3 samples into 10 shards; ask for fewer clients",
        ),
        (
            lambda: partitioned(ToyClients(9), ClassesPerClient(6), 5).open(),
            PopulationError,
            "asks for more classes than the 5 of the pool",
        ),
        (
            lambda: partitioned(ToyClients(2), Careless(), 5).open(),
            PopulationError,
            r"Careless\.deal\(\) must give a client in 0\.\.4 for each of 13 samples, but it gave int64\[12\]",
        ),
    ],
)
def test_what_cannot_be_dealt_is_refused(make, error, words):
    with pytest.raises(error, match=words) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_real_writers_dealt_and_gathered_again(real_femnist):
    """Every image of every real writer comes back exactly once, whatever the partitioner."""

    def fingerprints(population, which):
        found = []
        for client in ids(population):
            x, y = getattr(population, which)(int(client))
            found += [(label, image.tobytes()) for label, image in zip(y.tolist(), x.numpy(), strict=True)]
        return sorted(found)

    pool = {which: fingerprints(real_femnist.open(), which) for which in ("train", "test")}
    for by in (Dirichlet(0.3), Shards(2), ClassesPerClient(5), Natural()):
        population = partitioned(real_femnist, by, 50).open()
        assert {which: fingerprints(population, which) for which in pool} == pool
