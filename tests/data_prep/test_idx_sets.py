"""MNIST and Fashion-MNIST: read as torchvision reads them, fetched from a server that misbehaves, refused when
damaged."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from rich.console import Console

from data_prep import fashion_mnist, mnist
from data_prep.download import DownloadError, Patience
from data_prep.idx import PARTS, parse_idx
from data_prep.prepared import describe
from raysplit.errors import PopulationError
from tests.conftest import needs
from tests.data_prep.archives import idx, lay, opened
from tests.data_prep.loopback import Remote, cut, page, serving, status

SETS = [pytest.param(mnist, "MNIST", id="mnist"), pytest.param(fashion_mnist, "FashionMNIST", id="fashion")]


def contents(train: int = 60, test: int = 20, seed: int = 0) -> dict[str, bytes]:
    """The four files of a small made-up set, not gzipped."""
    rng = np.random.default_rng(seed)
    made = {}
    for part in PARTS:
        count = train if part.startswith("train") else test
        shape = (count, 28, 28) if "idx3" in part else (count,)
        values = rng.integers(0, 256 if "idx3" in part else 10, shape, dtype=np.uint8)
        made[part] = idx(values)
    return made


def expect_torchvision(path: Path, root: Path, name: str) -> None:
    """Every image and label of the pool is torchvision's, in its order."""
    import torchvision

    population = opened(path)
    for train in (True, False):
        reference = getattr(torchvision.datasets, name)(str(root), train=train)
        ours = population.train(0) if train else population.test(0)
        assert np.array_equal(ours.x[:, 0].numpy(), reference.data.numpy())
        assert np.array_equal(ours.y.numpy(), reference.targets.numpy())


@pytest.mark.parametrize(("module", "name"), SETS)
@pytest.mark.parametrize("packed", [True, False])
def test_a_set_arrives_as_torchvision_reads_it(
    tmp_path: Path, quiet: Console, module: ModuleType, name: str, packed: bool
) -> None:
    lay(tmp_path / name / "raw", contents())
    source = lay(tmp_path / "given", contents(), packed=True) if packed else tmp_path
    summary = module.prepare(tmp_path / "out.arrow", source=source, console=quiet)
    expect_torchvision(tmp_path / "out.arrow", tmp_path, name)
    assert (summary.clients, summary.train, summary.test, summary.classes) == (1, 60, 20, 10)
    assert opened(tmp_path / "out.arrow").name(0) == "pool"
    assert "NOT the official files" in summary.source and "a pool of one client" in summary.source


@pytest.mark.parametrize(("module", "name"), SETS)
def test_the_real_set_arrives_whole_and_is_known_as_official(
    tmp_path: Path, quiet: Console, test_data: Path, module: ModuleType, name: str
) -> None:
    summary = module.prepare(tmp_path / "out.arrow", source=needs(test_data, name), console=quiet)
    expect_torchvision(tmp_path / "out.arrow", test_data, name)
    assert (summary.train, summary.test) == (60_000, 10_000)
    assert "from the official files" in summary.source
    if name == "FashionMNIST":
        assert summary.histogram == (7_000,) * 10


def served(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The packed files of a small set, made the official ones."""
    inside = contents()
    files = {f"{part}.gz": gzip.compress(inside[part], 1) for part in PARTS}
    sums = tuple(hashlib.sha256(content).hexdigest() for content in files.values())
    within = tuple(hashlib.sha256(inside[part]).hexdigest() for part in PARTS)
    monkeypatch.setattr(mnist, "SET", dataclasses.replace(mnist.SET, packed=sums, content=within))
    return files


def test_a_download_that_breaks_off_goes_on_and_finished_files_are_kept(
    tmp_path: Path, quiet: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = served(monkeypatch)
    patience = Patience(attempts=2, sleep=lambda seconds: None)
    with serving(Remote(files, mischief=[cut(16384), status(500), status(500)])) as remote:
        with pytest.raises(DownloadError, match="16,384 bytes received so far are kept"):
            mnist.prepare(tmp_path / "m.arrow", mirror=remote.url, patience=patience, console=quiet)
        assert not (tmp_path / "m.arrow").exists()
        summary = mnist.prepare(tmp_path / "m.arrow", mirror=remote.url, patience=patience, console=quiet)
        asked = len(remote.requests)
        assert "bytes=16384-" in remote.ranges
        mnist.prepare(tmp_path / "m.arrow", mirror=remote.url, patience=patience, console=quiet)
        assert len(remote.requests) == asked
    assert "from the official files" in summary.source
    assert sorted(f.name for f in (tmp_path / "mnist-source").iterdir()) == sorted(files)


def test_a_server_that_lies_answers_a_page_or_has_nothing_is_one_sentence(
    tmp_path: Path, quiet: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = served(monkeypatch)
    lies = {**files, f"{PARTS[1]}.gz": gzip.compress(contents(seed=1)[PARTS[1]], 1)}
    for remote, words in (
        (Remote(lies), "has the sha256"),
        (Remote(dict(files), mischief=[page]), "web page"),
        (Remote({}), "404"),
        (Remote({f"{part}.gz": b"PK" + b"\0" * 99 for part in PARTS}), "not the kind of file expected"),
    ):
        with serving(remote), pytest.raises(DownloadError, match=words) as caught:
            folder = tmp_path / words.split()[0]
            mnist.prepare(folder / "m.arrow", mirror=remote.url, console=quiet)
        assert "\n" not in str(caught.value)
        assert not list(tmp_path.rglob("*.arrow"))


@pytest.mark.parametrize(
    ("part", "spoil", "words"),
    [
        (0, lambda c: c[:-1], "promises 60 × 28 × 28 bytes"),
        (0, lambda c: b"\0\0\x09\x03" + c[4:], "no idx file"),
        (0, lambda c: b"", "no idx file"),
        (1, lambda c: c[:4] + (59).to_bytes(4, "big") + c[8:-1], "do not belong together"),
        (3, lambda c: c[:-1] + b"\x0a", "labels up to 10"),
        (2, lambda c: c[:4] + (20).to_bytes(4, "big") + (2**31).to_bytes(4, "big") + c[12:], "promises"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, quiet: Console, part: int, spoil, words: str) -> None:  # type: ignore[no-untyped-def]
    files = contents()
    files[PARTS[part]] = spoil(files[PARTS[part]])
    lay(tmp_path / "given", files)
    with pytest.raises(PopulationError, match=words) as caught:
        mnist.prepare(tmp_path / "m.arrow", source=tmp_path / "given", console=quiet)
    assert "\n" not in str(caught.value) and not list(tmp_path.glob("*.arrow"))


def test_missing_and_unreadable_files_are_named(tmp_path: Path, quiet: Console) -> None:
    folder = lay(tmp_path / "given", contents(), packed=True)
    damaged = folder / f"{PARTS[2]}.gz"
    damaged.write_bytes(damaged.read_bytes()[:-40])
    with pytest.raises(PopulationError, match=r"t10k-images-idx3-ubyte.gz' cannot be read"):
        mnist.prepare(tmp_path / "m.arrow", source=folder, console=quiet)
    damaged.unlink()
    with pytest.raises(PopulationError, match="holds no t10k-images-idx3-ubyte"):
        mnist.prepare(tmp_path / "m.arrow", source=folder, console=quiet)
    with pytest.raises(PopulationError, match=r"there is no folder .*nowhere"):
        mnist.prepare(tmp_path / "m.arrow", source=tmp_path / "nowhere", console=quiet)
    with pytest.raises(PopulationError, match="--mirror"):
        mnist.prepare(tmp_path / "m.arrow", source=folder, mirror="http://127.0.0.1:9", console=quiet)


def test_a_random_idx_file_is_parsed_or_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    whole = contents(3, 1)[PARTS[0]]
    for _ in range(300):
        damaged = bytearray(whole[: rng.integers(0, len(whole) + 1)])
        for place in rng.integers(0, max(1, min(20, len(damaged))), 2):
            if len(damaged):
                damaged[place] ^= int(rng.integers(1, 256))
        try:
            assert parse_idx(bytes(damaged), tmp_path, 3).ndim == 3
        except PopulationError as error:
            assert "\n" not in str(error)


def test_the_summary_is_that_of_the_file(tmp_path: Path, quiet: Console) -> None:
    summary = mnist.prepare(tmp_path / "m.arrow", source=lay(tmp_path / "given", contents()), console=quiet)
    assert summary == describe(tmp_path / "m.arrow")
    labels = np.frombuffer(contents()[PARTS[1]][8:] + contents()[PARTS[3]][8:], np.uint8)
    assert summary.histogram == tuple(np.bincount(labels, minlength=10))
    for figure in ("80 (60 training, 20 test)", "uint8 1 × 28 × 28", f"0:{np.sum(labels == 0)}", summary.digest):
        assert figure in str(summary)
