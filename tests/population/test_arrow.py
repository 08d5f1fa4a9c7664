"""The population file: what is written is served, damage is one sentence, and a reader never crashes."""

from __future__ import annotations

import pickle
import resource
import shutil
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from raysplit.errors import PopulationError
from raysplit.population.arrow import ArrowFile, clients_file
from raysplit.population.arrow_writer import ClientData, write_population
from raysplit.population.population import Population, PopulationInfo, PopulationSpec
from raysplit.population.sets.femnist import femnist
from tests.population.tiny_population import CLASSES, SHAPE, make_clients, opened, refuses, rewrite, write


def test_what_is_written_is_served(tiny: Path) -> None:
    population = opened(tiny)
    clients = make_clients()
    for k, client in enumerate(clients):
        train, test = population.train(k), population.test(k)
        assert np.array_equal(train.x.numpy(), client.train_x) and np.array_equal(train.y.numpy(), client.train_y)
        assert np.array_equal(test.x.numpy(), client.test_x) and np.array_equal(test.y.numpy(), client.test_y)
        assert (train.x.dtype, train.y.dtype, test.x.shape[1:]) == (train.x.new_empty(0).dtype, test.y.dtype, SHAPE)
        assert str(train.x.dtype) == "torch.uint8" and str(train.y.dtype) == "torch.int64"
        assert population.name(k) == client.name
    ids = np.asarray([5, 0, 39, 5])
    assert population.train_sizes(ids).tolist() == [len(clients[k].train_y) for k in ids]
    assert population.test_sizes(ids).tolist() == [len(clients[k].test_y) for k in ids]
    assert population.train_sizes(ids).dtype == np.int64
    assert population.info == PopulationInfo("tiny", 40, CLASSES, SHAPE, False, write(tiny, clients).digest, "made up")
    population.verify()


def test_the_spec_and_the_open_population_keep_their_contracts(tiny: Path) -> None:
    spec = ArrowFile(str(tiny))
    population: Population = spec.open()
    assert isinstance(spec, PopulationSpec) and population.info.clients == 40
    assert spec == ArrowFile(str(tiny)) and hash(spec) == hash(ArrowFile(str(tiny)))
    with pytest.raises(FrozenInstanceError):
        spec.path = "other"  # type: ignore[misc]


def test_a_client_larger_than_a_batch_and_a_single_client_are_served(tmp_path: Path) -> None:
    clients = make_clients(7)
    for count in (1, 7):
        write(tmp_path / "large.arrow", clients[:count], batch_bytes=1)
        population = opened(tmp_path / "large.arrow")
        assert population.train(count - 1).y.tolist() == clients[count - 1].train_y.tolist()


def test_views_are_of_the_file_and_cannot_be_written_while_tensors_are_the_callers_own(tiny: Path) -> None:
    population = opened(tiny)
    views = population.views(6)
    assert not views.train_x.flags.owndata and not views.train_y.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        views.train_x[:] = 0
    population.train(6).x.zero_()
    assert np.array_equal(population.train(6).x.numpy(), make_clients()[6].train_x)


def test_an_open_population_travels_by_its_path(tiny: Path) -> None:
    population = opened(tiny)
    sent = pickle.dumps(population)
    assert len(sent) < 1000
    assert pickle.loads(sent).info == population.info


def test_a_client_id_outside_the_population_is_an_index_error(tiny: Path) -> None:
    population = opened(tiny)
    for wrong in (-1, 40):
        with pytest.raises(IndexError, match=r"0\.\.39"):
            population.train(wrong)
        with pytest.raises(IndexError, match=r"0\.\.39"):
            population.train_sizes(np.asarray([0, wrong]))
    assert population.train_sizes(np.asarray([], dtype=np.int64)).shape == (0,)


def test_another_arrow_reader_sees_samples_and_units(tiny: Path) -> None:
    with pa.ipc.open_file(str(tiny)) as reader:
        table = reader.read_all()
    assert table.num_rows == sum(len(c.train_y) + len(c.test_y) for c in make_clients())
    assert table.schema.field("pixels").metadata[b"unit"] == b"intensity 0..255"


def test_opening_a_hundred_thousand_clients_takes_well_under_a_second_and_reads_no_samples(tmp_path: Path) -> None:
    pixel, label, none = np.zeros((1, 1, 1, 1), np.uint8), np.zeros(1, np.int64), np.zeros(0, np.int64)
    many = (ClientData(str(k), pixel, label, pixel[:0], none) for k in range(100_000))
    write_population(tmp_path / "many.arrow", many, name="many", shape=(1, 1, 1), classes=2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    population = opened(tmp_path / "many.arrow")
    assert population.train_sizes(np.arange(100_000)).sum() == 100_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - before < 0.5


def test_femnist_unprepared_names_the_command_and_the_alternative(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYSPLIT_DATA", str(tmp_path / "data"))
    with pytest.raises(PopulationError) as caught:
        femnist().open()
    for word in ("raysplit data prepare femnist", "synthetic_writers()", str(tmp_path / "data" / "femnist.arrow")):
        assert word in str(caught.value)


def test_femnist_is_found_in_the_data_directory_of_the_machine_that_opens_it(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = femnist()
    assert str(Path.home()) not in repr(spec)
    for file in (tiny, clients_file(tiny)):
        shutil.copy(file, file.parent / file.name.replace("tiny", "femnist"))
    monkeypatch.setenv("RAYSPLIT_DATA", str(tiny.parent))
    assert spec.open().info.clients == 40
    monkeypatch.delenv("RAYSPLIT_DATA")
    monkeypatch.setenv("HOME", str(tiny.parent / "home"))
    assert spec.file() == tiny.parent / "home" / ".local/share/raysplit/femnist.arrow"
    assert femnist(str(tiny)).open().info.name == "tiny"


def test_missing_offsets_are_named(tiny: Path) -> None:
    clients_file(tiny).unlink()
    refuses(tiny, "tiny.clients.arrow", "missing")


def test_wrong_magic_an_empty_file_and_a_folder_are_refused(tiny: Path) -> None:
    content = tiny.read_bytes()
    for wrong in (b"", b"PK\x03\x04" + content[4:], content[:-6] + b"ARROW2", b"ARROW1"):
        tiny.write_bytes(wrong)
        refuses(tiny, "tiny.arrow")
    tiny.unlink()
    tiny.mkdir()
    refuses(tiny, "tiny.arrow")


def test_files_of_two_preparations_do_not_mix(tiny: Path, tmp_path: Path) -> None:
    write(tmp_path / "other.arrow", make_clients(seed=1))
    assert (tmp_path / "other.arrow").stat().st_size == tiny.stat().st_size
    shutil.copy(tmp_path / "other.arrow", tiny)
    refuses(tiny, "different preparations")


def test_an_arrow_file_of_something_else_and_another_version_are_refused(tiny: Path) -> None:
    sidecar = clients_file(tiny)
    rewrite(sidecar, metadata={b"raysplit.version": b"4"})
    refuses(tiny, "format version 4", "reads 1 to 3")
    rewrite(sidecar, metadata={b"raysplit.version": b"2"})
    refuses(tiny, "lack dtype")
    rewrite(sidecar, metadata={b"dtype": b"uint8"})
    refuses(tiny, "version 2, which holds no uint8")
    rewrite(sidecar, metadata={b"dtype": b"float64"})
    refuses(tiny, "float64", "not uint8 or float32")
    rewrite(sidecar, metadata={b"dtype": b"float32"})
    refuses(tiny, "metadata differ")
    rewrite(sidecar, metadata={b"raysplit.format": b"recipes"})
    refuses(tiny, "not a population")


@pytest.mark.parametrize(
    "metadata",
    [
        {b"classes": b"0"},
        {b"classes": b"many"},
        {b"classes": b"99999"},
        {b"shape": b"[2, 3]"},
        {b"shape": b"[2, 3, -4]"},
        {b"shape": b"[2, 3, 4.0]"},
        {b"shape": b"[4294967296, 4294967296, 4294967296]"},
        {b"shape": b"[" * 100_000},
        {b"shape": b"[4, 3, 2]"},
        {b"synthetic": b"1"},
        {b"name": b"other"},
        {b"name": b"\xff"},
        {b"digest": b"00"},
        {b"digest": b"0" * 64},
        {b"sample_bytes": b"12"},
    ],
)
def test_offsets_whose_metadata_lie_are_refused(tiny: Path, metadata: dict[bytes, bytes]) -> None:
    rewrite(clients_file(tiny), metadata=metadata)
    refuses(tiny, "prepare or copy it again")


@pytest.mark.parametrize("column", ["train_start", "train_stop", "test_start", "test_stop"])
@pytest.mark.parametrize("value", [-1, 2**62, 0, 7])
def test_offsets_that_do_not_cover_the_samples_are_refused(tiny: Path, column: str, value: int) -> None:
    sidecar = clients_file(tiny)
    with pa.ipc.open_file(pa.py_buffer(sidecar.read_bytes())) as reader:
        offsets = reader.get_batch(0).column(column).to_pylist()
    for row in (0, 20, 39):
        if offsets[row] == value:
            continue
        write(tiny, make_clients())
        rewrite(sidecar, columns={column: pa.array([*offsets[:row], value, *offsets[row + 1 :]], pa.int64())})
        refuses(tiny, "offsets do not cover")


def test_a_label_that_is_no_class_is_refused_when_its_client_is_read(tiny: Path) -> None:
    info = opened(tiny).info
    content = bytearray(tiny.read_bytes())
    labels = make_clients()[39].train_y.astype("<i2").tobytes() + make_clients()[39].test_y.astype("<i2").tobytes()
    place = content.rindex(labels)
    content[place : place + 2] = (CLASSES).to_bytes(2, "little")
    tiny.write_bytes(content)
    population = opened(tiny)
    assert population.info == info
    with pytest.raises(PopulationError, match=r"'writer-39' has a label outside 0\.\.4"):
        population.train(39)
    population.train(38)


def test_verify_sees_a_single_flipped_bit_of_a_pixel(tiny: Path) -> None:
    content = bytearray(tiny.read_bytes())
    content[content.index(make_clients()[12].train_x.tobytes()) + 3] ^= 4
    tiny.write_bytes(content)
    population = opened(tiny)
    with pytest.raises(PopulationError, match="digest"):
        population.verify()


def test_compressed_samples_are_refused(tiny: Path) -> None:
    with pa.ipc.open_file(pa.py_buffer(tiny.read_bytes())) as reader:
        batches = [reader.get_batch_with_custom_metadata(i) for i in range(reader.num_record_batches)]
        schema = reader.schema
    with pa.ipc.new_file(str(tiny), schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        for batch, custom in batches:
            writer.write_batch(batch, custom_metadata=custom)
    rewrite(clients_file(tiny), metadata={b"sample_bytes": str(tiny.stat().st_size).encode()})
    refuses(tiny, "compressed")


def test_any_truncation_is_refused_in_one_sentence(tiny: Path) -> None:
    rng = np.random.default_rng(1)
    for file in (tiny, clients_file(tiny)):
        whole = file.read_bytes()
        for length in {*range(0, 40), *rng.integers(0, len(whole), 150).tolist(), len(whole) - 1}:
            file.write_bytes(whole[:length])
            refuses(tiny)
        file.write_bytes(whole + b"\0")
        refuses(tiny)
        file.write_bytes(whole)
    opened(tiny).verify()


@pytest.mark.parametrize("seed", range(4))
def test_any_flipped_bytes_give_one_sentence_or_data_that_verify_judges_rightly(tiny: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = make_clients()
    unseen = 0
    for file in (tiny, clients_file(tiny)):
        whole = file.read_bytes()
        for _ in range(400):
            damaged = bytearray(whole)
            for place in rng.integers(0, len(whole), rng.integers(1, 4)):
                damaged[place] ^= int(rng.integers(1, 256))
            file.write_bytes(damaged)
            try:
                population = opened(tiny)
                population.verify()
            except PopulationError as error:
                assert "\n" not in str(error)
                continue
            unseen += 1
            for k, client in enumerate(truth):
                assert np.array_equal(population.train(k).x.numpy(), client.train_x)
                assert population.train(k).y.tolist() == client.train_y.tolist()
                assert np.array_equal(population.test(k).x.numpy(), client.test_x)
        file.write_bytes(whole)
    assert unseen > 0, "some flips hit padding: if none pass, the test damages too much"
