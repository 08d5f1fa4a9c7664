"""Populations of float32 numbers: format version 2 beside version 1, and what the network sees of them."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn
from torch.nn import functional

from raysplit.errors import PopulationError, ScenarioError
from raysplit.models.network import ModelSpec, build
from raysplit.parts.part import part
from raysplit.population.arrow import ArrowFile
from raysplit.population.arrow_writer import ClientData, write_population
from raysplit.population.population import PopulationInfo
from raysplit.population.preview import contact_sheet
from raysplit.population.selection.cohort import Cohort
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.scenario.scenario import Scenario
from raysplit.training.optimizers import Sgd
from raysplit.training.settings import Training
from tests.population.tiny_population import make_clients, opened, refuses, rewrite, write
from tests.toys import play

SHAPE = (1, 1, 6)


def numbers(count: int = 12, seed: int = 0) -> list[ClientData]:
    rng = np.random.default_rng(seed)

    def rows(n: int) -> tuple[np.ndarray, np.ndarray]:
        return (rng.standard_normal((n, *SHAPE)) * 3).astype(np.float32), rng.integers(0, 3, n)

    return [ClientData(f"site-{k}", *rows(1 + k % 5), *rows(k % 3)) for k in range(count)]


def write_numbers(path: Path, clients: list[ClientData], batch_bytes: int = 100) -> PopulationInfo:
    return write_population(
        path, clients, name="numbers", shape=SHAPE, classes=3, dtype="float32", batch_bytes=batch_bytes
    )


@pytest.fixture
def table(tmp_path: Path) -> Path:
    write_numbers(tmp_path / "numbers.arrow", numbers())
    return tmp_path / "numbers.arrow"


@part
class Line(ModelSpec):
    """A linear network on six numbers, in two stages."""

    cut: str | None = "first"
    tail: str | None = None

    @property
    def cuts(self) -> Mapping[str, str]:
        return {}

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return SHAPE

    @property
    def classes(self) -> int:
        return 3

    def stages(self) -> list[tuple[str, nn.Module]]:
        return [("first", nn.Sequential(nn.Flatten(), nn.Linear(6, 4))), ("last", nn.Linear(4, 3))]


def scenario(table: Path, **changes: object) -> Scenario:
    return Scenario(
        name="numbers",
        population=ArrowFile(str(table)),
        model=Line(),
        protocol=SplitFedV2(),
        cohort=Cohort(1),
        training=Training(rounds=1, lr=0.1, batch_size=64, optimizer=Sgd()),
    ).replace(**changes)


def test_numbers_are_served_to_the_last_bit_and_verified(table: Path) -> None:
    population = opened(table)
    for k, client in enumerate(numbers()):
        train, test = population.train(k), population.test(k)
        assert train.x.dtype == test.x.dtype == torch.float32
        assert np.array_equal(train.x.numpy(), client.train_x) and np.array_equal(test.x.numpy(), client.test_x)
        assert train.y.tolist() == client.train_y.tolist()
    population.verify()
    assert population.info.dtype == "float32"


def test_bytes_stay_format_version_1(tmp_path: Path) -> None:
    """A file of bytes says nothing of its kind, so every older RaySplit reads it; the digest is what such a one
    gave."""
    digest = "b4b449e0c5e578cf0a39868b34be23adf99dcb956e221714fa11ab27bd12297a"
    assert write(tmp_path / "tiny.arrow", make_clients()).digest == digest
    assert opened(tmp_path / "tiny.arrow").info.digest == digest
    assert write(tmp_path / "tiny.arrow", make_clients()).dtype == opened(tmp_path / "tiny.arrow").info.dtype == "uint8"
    with pa.ipc.open_file(str(tmp_path / "tiny.arrow")) as reader:
        assert reader.schema.metadata[b"raysplit.version"] == b"1" and b"dtype" not in reader.schema.metadata


def test_the_digest_depends_on_numbers_and_their_kind_and_not_on_batches(tmp_path: Path) -> None:
    digests = [write_numbers(tmp_path / f"{size}.arrow", numbers(), size).digest for size in (1, 1 << 20)]
    assert digests[0] == digests[1]
    nudged = numbers()
    nudged[4].train_x[0, 0, 0, 0] = np.nextafter(nudged[4].train_x[0, 0, 0, 0], np.float32(9))
    assert write_numbers(tmp_path / "nudged.arrow", nudged).digest != digests[0]
    # As docs/population.md says it.
    sha256 = hashlib.sha256(b"raysplit population 2 float32\n" + struct.pack("<4q", *SHAPE, 3))
    for client in numbers():
        name = client.name.encode()
        sha256.update(struct.pack("<3q", len(name), len(client.train_y), len(client.test_y)) + name)
        sha256.update(client.train_x.astype("<f4").tobytes() + client.test_x.astype("<f4").tobytes())
        sha256.update(client.train_y.astype("<i2").tobytes() + client.test_y.astype("<i2").tobytes())
    assert digests[0] == sha256.hexdigest()


def test_a_flipped_bit_of_a_number_is_seen_by_verify(table: Path) -> None:
    content = bytearray(table.read_bytes())
    content[content.index(numbers()[7].train_x.tobytes()) + 2] ^= 1
    table.write_bytes(content)
    with pytest.raises(PopulationError, match="digest"):
        opened(table).verify()


def test_metadata_that_lie_about_the_kind_are_refused(table: Path) -> None:
    sidecar = table.with_name("numbers.clients.arrow")
    rewrite(table, metadata={b"raysplit.version": b"1"})
    rewrite(sidecar, metadata={b"raysplit.version": b"1", b"sample_bytes": str(table.stat().st_size).encode()})
    refuses(table, "not those of uint8 samples")


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_what_is_not_finite_or_not_of_the_kind_is_refused_by_name(tmp_path: Path, wrong: float) -> None:
    clients = numbers()
    clients[3].train_x[0] = wrong
    with pytest.raises(PopulationError, match=r"'site-3' has training .*not finite"):
        write_numbers(tmp_path / "n.arrow", clients)
    with pytest.raises(PopulationError, match=r"'site-0' has training pixels float64.*not float32"):
        write_numbers(tmp_path / "n.arrow", [numbers()[0]._replace(train_x=np.zeros((1, *SHAPE)))])
    with pytest.raises(PopulationError, match="float64, not uint8 or float32"):
        write_population(tmp_path / "n.arrow", numbers(), name="n", shape=SHAPE, classes=3, dtype="float64")


def test_the_network_sees_the_numbers_as_they_are(tmp_path: Path) -> None:
    """One client, one step: the trained weights are those of a plain gradient step on the raw numbers."""
    client = numbers()[4]
    write_numbers(tmp_path / "one.arrow", [client])
    played = play(scenario(tmp_path / "one.arrow"))
    network = build(Line(), seed=42)
    x, y = torch.from_numpy(client.train_x), torch.from_numpy(client.train_y)
    loss = functional.cross_entropy(network(x), y)
    loss.backward()  # type: ignore[no-untyped-call]
    for name, weight in network.named_parameters():
        assert torch.allclose(played.named[name], weight.detach() - 0.1 * weight.grad, rtol=0, atol=1e-6), name


@pytest.mark.parametrize("pixels", ["inverted", "centred"])
def test_pixels_that_are_about_bytes_are_refused_for_numbers(table: Path, pixels: str) -> None:
    with pytest.raises(ScenarioError, match=f"pixels='{pixels}' is about bytes, but population 'numbers'"):
        play(scenario(table, pixels=pixels))


def test_no_sheet_of_pictures_shows_numbers(table: Path) -> None:
    with pytest.raises(PopulationError, match="no pictures"):
        contact_sheet(opened(table), [0])
