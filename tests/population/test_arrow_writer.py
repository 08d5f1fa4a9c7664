"""Writing a population: streamed, atomic, reproducible, and strict about what it is given."""

from __future__ import annotations

import os
import resource
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from raysplit.errors import PopulationError
from raysplit.population.arrow import clients_file
from raysplit.population.arrow_writer import ClientData, write_population
from tests.population.tiny_population import CLASSES, SHAPE, make_clients, opened, write


def test_the_digest_names_the_content_and_not_its_batches_or_its_place(tmp_path: Path) -> None:
    digests = [write(tmp_path / f"{size}.arrow", make_clients(), size).digest for size in (1, 400, 1 << 20)]
    assert len(set(digests)) == 1
    other = make_clients()
    other[7].train_x[0, 0, 0, 0] ^= 1
    assert write(tmp_path / "pixel.arrow", other).digest != digests[0]
    relabelled = make_clients()
    relabelled[39].train_y[-1] = (relabelled[39].train_y[-1] + 1) % CLASSES
    assert write(tmp_path / "label.arrow", relabelled).digest != digests[0]
    renamed = [client._replace(name=client.name + "!") for client in make_clients()]
    assert write(tmp_path / "name.arrow", renamed).digest != digests[0]


def test_writing_twice_gives_the_same_bytes(tiny: Path, tmp_path: Path) -> None:
    write(tmp_path / "again.arrow", make_clients())
    assert (tmp_path / "again.arrow").read_bytes() == tiny.read_bytes()
    assert clients_file(tmp_path / "again.arrow").read_bytes() == clients_file(tiny).read_bytes()


def test_samples_stream_to_disk_without_gathering_in_memory(tmp_path: Path) -> None:
    alive: list[int] = []

    def stream() -> Iterator[ClientData]:
        import weakref

        for k in range(64):
            x = np.full((10, 1, 100, 100), k, np.uint8)
            alive.append(k)
            weakref.finalize(x, alive.remove, k)
            yield ClientData(str(k), x, np.zeros(10, np.int64), x[:0], np.zeros(0, np.int64))
            assert len(alive) < 12, "clients pile up"

    write_population(tmp_path / "s.arrow", stream(), name="s", shape=(1, 100, 100), classes=1, batch_bytes=500_000)
    assert opened(tmp_path / "s.arrow").info.clients == 64


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda c: c._replace(name="writer-0"), ("two clients are called 'writer-0'",)),
        (lambda c: c._replace(name="\ud800"), ("not valid text",)),
        (lambda c: c._replace(train_x=c.train_x.astype(np.float32)), ("writer-3", "float32", "uint8")),
        (lambda c: c._replace(train_x=c.train_x[:, :1]), ("writer-3", "[n, 2, 3, 4]")),
        (lambda c: c._replace(test_y=np.zeros(9, np.int64)), ("writer-3", "test")),
        (lambda c: c._replace(train_y=c.train_y * 0 + CLASSES), ("writer-3", "0..4")),
        (lambda c: c._replace(train_y=c.train_y * 0 - 1), ("writer-3", "0..4")),
        (lambda c: c._replace(train_y=c.train_y * 0.5), ("writer-3", "0..4")),
        (lambda c: c._replace(train_x=c.train_x[:0], train_y=c.train_y[:0]), ("writer-3", "no training samples")),
    ],
)
def test_a_client_that_does_not_fit_is_named_and_replaces_nothing(tiny: Path, spoil, words) -> None:  # type: ignore[no-untyped-def]
    before = tiny.read_bytes()
    clients = make_clients()
    clients[3] = spoil(clients[3])
    with pytest.raises(PopulationError) as caught:
        write(tiny, clients)
    assert all(word in str(caught.value) for word in words)
    assert tiny.read_bytes() == before
    assert sorted(file.name for file in tiny.parent.iterdir()) == ["tiny.arrow", "tiny.clients.arrow"]


def test_a_source_that_fails_midway_leaves_what_was_there(tiny: Path) -> None:
    def broken() -> Iterator[ClientData]:
        yield from make_clients()[:20]
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        write_population(tiny, broken(), name="tiny", shape=SHAPE, classes=CLASSES)
    opened(tiny).verify()
    assert len(list(tiny.parent.iterdir())) == 2


def test_a_writer_that_is_killed_leaves_what_was_there(tiny: Path) -> None:
    program = (
        "import os, sys; from tests.population.tiny_population import make_clients, write_population, SHAPE, CLASSES\n"
        "def stream():\n"
        "    yield from make_clients(30, seed=1)\n"
        "    os.kill(os.getpid(), 9)\n"
        "write_population(sys.argv[1], stream(), name='tiny', shape=SHAPE, classes=CLASSES, batch_bytes=100)\n"
    )
    root = Path(__file__).parents[2]
    killed = subprocess.run(
        [sys.executable, "-c", program, str(tiny)], cwd=root, env=os.environ | {"PYTHONPATH": str(root)}
    )
    assert killed.returncode == -9
    opened(tiny).verify()


def test_a_full_disk_is_one_sentence_and_replaces_nothing(tiny: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(PopulationError, match="cannot be written"):
            write(tiny, make_clients(seed=1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    opened(tiny).verify()
    assert len(list(tiny.parent.iterdir())) == 2


def test_a_population_is_as_readable_as_any_file_of_its_owner(tiny: Path) -> None:
    (tiny.parent / "plain").write_text("")
    assert stat.S_IMODE(tiny.stat().st_mode) == stat.S_IMODE((tiny.parent / "plain").stat().st_mode)


@pytest.mark.parametrize("name", ["tiny.bin", "tiny.clients.arrow"])
def test_a_name_that_is_not_a_population_files_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(PopulationError, match=r"NAME\.arrow"):
        write(tmp_path / name, make_clients())


def test_no_clients_no_classes_and_no_pixels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PopulationError, match="no clients"):
        write(tmp_path / "a.arrow", [])
    for shape, classes in (((0, 1, 1), 2), ((1, 1, 1), 0), ((1, 1, 1), 40_000)):
        with pytest.raises(PopulationError, match="cannot be written"):
            write_population(tmp_path / "a.arrow", make_clients(), name="a", shape=shape, classes=classes)
