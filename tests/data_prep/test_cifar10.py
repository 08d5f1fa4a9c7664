"""CIFAR-10 in both official forms, beside torchvision; and pickles that ask for more than a batch holds."""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from data_prep import cifar10
from data_prep.cifar10 import FOLDERS, TEST, TRAIN
from data_prep.download import DownloadError
from data_prep.plain_pickle import load_batch
from raysplit.errors import PopulationError
from tests.conftest import needs
from tests.data_prep.archives import opened
from tests.data_prep.loopback import Remote, page, serving

Batches = dict[str, tuple[np.ndarray, np.ndarray]]


def made(rows: int = 12) -> Batches:
    rng = np.random.default_rng(0)
    names = [*TRAIN["python"], TEST["python"]]
    return {
        name: (rng.integers(0, 256, (rows, 3072), dtype=np.uint8), rng.integers(0, 10, rows, dtype=np.uint8))
        for name in names
    }


def pickled(pixels: np.ndarray, labels: np.ndarray, protocol: int = 4, **more: object) -> bytes:
    batch = {"batch_label": "b", "labels": [int(n) for n in labels], "data": pixels, "filenames": ["a"], **more}
    return pickle.dumps(batch, protocol=protocol)


def files(batches: Batches, form: str) -> dict[str, bytes]:
    if form == "python":
        return {name: pickled(*batch) for name, batch in batches.items()}
    return {f"{name}.bin": np.concatenate([y[:, None], x], axis=1).tobytes() for name, (x, y) in batches.items()}


def tar(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as packed:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content))
    return out.getvalue()


def lay(folder: Path, form: str, packed: bool, batches: Batches | None = None) -> Path:
    """A folder with the archive of a form, or with what it unpacks to."""
    members = {f"{FOLDERS[form]}/{name}": content for name, content in files(batches or made(), form).items()}
    folder.mkdir(exist_ok=True)
    if packed:
        (folder / f"cifar-10-{form}.tar.gz").write_bytes(tar({f"{FOLDERS[form]}/readme.html": b"<html>", **members}))
        return folder
    (folder / FOLDERS[form]).mkdir()
    for name, content in members.items():
        (folder / name).write_bytes(content)
    return folder


def expect_torchvision(path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision

    monkeypatch.setattr(torchvision.datasets.CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "_load_meta", lambda self: None)
    population = opened(path)
    for train in (True, False):
        reference = torchvision.datasets.CIFAR10(str(root), train=train)
        ours = population.train(0) if train else population.test(0)
        assert np.array_equal(ours.x.numpy().transpose(0, 2, 3, 1), reference.data)
        assert ours.y.tolist() == list(reference.targets)


@pytest.mark.parametrize("form", ["python", "binary"])
@pytest.mark.parametrize("packed", [True, False])
def test_every_form_arrives_as_torchvision_reads_the_python_form(
    tmp_path: Path, quiet: Console, monkeypatch: pytest.MonkeyPatch, form: str, packed: bool
) -> None:
    summary = cifar10.prepare(tmp_path / "c.arrow", source=lay(tmp_path / "given", form, packed), console=quiet)
    lay(tmp_path / "theirs", "python", packed=False)
    expect_torchvision(tmp_path / "c.arrow", tmp_path / "theirs", monkeypatch)
    assert (summary.train, summary.test, summary.shape) == (60, 12, (3, 32, 32))
    told = "no sums are published" if form == "binary" and not packed else "NOT the official one"
    assert told in summary.source


def test_the_real_pictures_arrive_as_torchvision_reads_them(
    tmp_path: Path, quiet: Console, monkeypatch: pytest.MonkeyPatch, test_data: Path
) -> None:
    needs(test_data, "cifar-10-batches-py")
    summary = cifar10.prepare(tmp_path / "c.arrow", source=test_data, console=quiet)
    expect_torchvision(tmp_path / "c.arrow", test_data, monkeypatch)
    assert (summary.train, summary.test, summary.histogram) == (50_000, 10_000, (6_000,) * 10)


def test_a_download_is_the_binary_form_and_checked(
    tmp_path: Path, quiet: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay(tmp_path / "given", "binary", packed=True)
    content = (tmp_path / "given" / "cifar-10-binary.tar.gz").read_bytes()
    with serving(Remote({"cifar-10-binary.tar.gz": content}, mischief=[page])) as remote:
        with pytest.raises(DownloadError, match="web page"):
            cifar10.prepare(tmp_path / "c.arrow", mirror=remote.url, console=quiet)
        with pytest.raises(DownloadError, match=r"has the md5 .* instead of c32a1d4ab5d03f12"):
            cifar10.prepare(tmp_path / "c.arrow", mirror=remote.url, console=quiet)
        monkeypatch.setattr(cifar10, "BINARY_MD5", hashlib.md5(content).hexdigest())
        summary = cifar10.prepare(tmp_path / "c.arrow", mirror=remote.url, console=quiet)
    assert "the official binary version" in summary.source


class Mischief:
    """A pickle of it asks for a function to be called."""

    def __init__(self, ask: tuple[Any, ...]) -> None:
        self.ask = ask

    def __reduce__(self) -> tuple[Any, ...]:
        return self.ask


def touch(path: str) -> None:
    Path(path).write_text("was run")


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_a_pickle_that_asks_for_anything_else_is_refused_and_nothing_runs(tmp_path: Path, protocol: int) -> None:
    x, y = made()["test_batch"]
    trace = tmp_path / "trace"
    for ask in ((touch, (str(trace),)), (eval, (f"open({str(trace)!r}, 'w')",)), (getattr, (str, "upper"))):
        with pytest.raises(PopulationError, match="its pickle asks for") as caught:
            load_batch(pickled(x, y, protocol, extra=Mischief(ask)), "'batch'")
        assert "\n" not in str(caught.value)
    assert not trace.exists()


def test_every_protocol_that_names_arrays_alike_is_read() -> None:
    """0 to 4; numpy's arrays in protocol 5 are other names, which no official batch uses."""
    x, y = made()["test_batch"]
    for protocol in range(5):
        pixels, labels = load_batch(pickled(x, y, protocol), "'batch'")
        assert np.array_equal(pixels, x) and np.array_equal(labels, y)
    pixels, _ = load_batch(pickled(np.asfortranarray(x), y), "'batch'")
    assert np.array_equal(pixels, x)


def test_the_spelling_of_python_2_is_read() -> None:
    """What cPickle wrote for the official batches: protocol 2, texts as bytes, numpy.core."""
    x, y = made()["test_batch"]

    def text(value: bytes) -> bytes:
        return (
            b"U" + bytes([len(value)]) + value if len(value) < 256 else b"T" + len(value).to_bytes(4, "little") + value
        )

    shape = b"M" + len(x).to_bytes(2, "little") + b"M" + (3072).to_bytes(2, "little") + b"\x86"
    dtype = (
        b"cnumpy\ndtype\n("
        + text(b"u1")
        + b"K\x00K\x01tR(K\x03"
        + text(b"|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + text(b"b") + b"tR"
    array += b"(K\x01" + shape + dtype + b"\x89" + text(x.tobytes()) + b"tb"
    labels = b"](" + b"".join(b"K" + bytes([n]) for n in y) + b"e"
    batch = b"\x80\x02}(" + text(b"data") + array + text(b"labels") + labels + text(b"batch_label") + text(b"b") + b"u."
    unpickled = pickle.loads(batch.replace(b"numpy.core.multiarray", b"numpy._core.multiarray"), encoding="bytes")
    assert np.array_equal(unpickled[b"data"], x), "the test's own pickle is one"
    pixels, found = load_batch(batch, "'batch'")
    assert np.array_equal(pixels, x) and found.tolist() == y.tolist()


def test_a_damaged_pickle_is_one_sentence_or_the_same_batch() -> None:
    x, y = made(2)["test_batch"]
    whole = pickled(x, y)
    rng = np.random.default_rng(0)
    small = np.flatnonzero(np.frombuffer(whole, np.uint8) >= 0)
    for _ in range(500):
        damaged = bytearray(whole)
        damaged[int(rng.choice(small[:200] if rng.random() < 0.8 else small[-300:]))] ^= int(rng.integers(1, 256))
        try:
            pixels, labels = load_batch(bytes(damaged), "'batch'")
        except PopulationError as error:
            assert "\n" not in str(error) and "'batch'" in str(error)
        else:
            assert pixels.dtype == np.uint8 and len(pixels) == len(labels)


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        (pickle.dumps([1, 2]), "holds no dictionary"),
        (pickle.dumps({"data": b"", "labels": []}), "'data' are no bytes in two dimensions"),
        (pickled(np.zeros((2, 3072)), np.zeros(2)), "'data' are no bytes in two dimensions"),
        (pickled(np.zeros((2, 9), np.uint8), np.zeros(2)), r"\[2, 9\]"),
        (pickled(np.zeros((2, 3072), np.uint8), np.array([0, 10])), "no list of classes"),
        (pickled(np.zeros((2, 3072), np.uint8), np.zeros(3)), "2 images and 3 labels"),
        (b"not a pickle", "no readable pickle"),
    ],
)
def test_pickles_of_something_else_are_refused(tmp_path: Path, quiet: Console, batch: bytes, words: str) -> None:
    folder = lay(tmp_path / "given", "python", packed=False)
    (folder / FOLDERS["python"] / "data_batch_3").write_bytes(batch)
    with pytest.raises(PopulationError, match=words) as caught:
        cifar10.prepare(tmp_path / "c.arrow", source=folder, console=quiet)
    assert "data_batch_3" in str(caught.value) and not list(tmp_path.glob("*.arrow"))


def test_damaged_archives_and_batches_are_refused(tmp_path: Path, quiet: Console) -> None:
    def refuses(words: str) -> None:
        with pytest.raises(PopulationError, match=words):
            cifar10.prepare(tmp_path / "c.arrow", source=tmp_path / "given", console=quiet)

    lay(tmp_path / "given", "binary", packed=True)
    archive = tmp_path / "given" / "cifar-10-binary.tar.gz"
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    refuses("cannot be read")
    members = {f"cifar-10-batches-bin/{name}": content for name, content in files(made(), "binary").items()}
    archive.write_bytes(tar({name: content for name, content in members.items() if "batch_4" not in name}))
    refuses("lacks data_batch_4.bin")
    archive.write_bytes(tar({**members, "cifar-10-batches-bin/test_batch.bin": b"\0" * 100}))
    refuses("no whole rows")
    archive.write_bytes(tar({**members, "cifar-10-batches-bin/test_batch.bin": b"\x0b" * 3073}))
    refuses("the label 11")
    archive.unlink()
    refuses("holds neither")
