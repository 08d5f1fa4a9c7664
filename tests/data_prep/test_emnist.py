"""EMNIST: turned upright, labels from 0, from the archive or from what it unpacks to, refused when damaged."""

from __future__ import annotations

import gzip
import hashlib
import string
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from data_prep import emnist
from data_prep.download import DownloadError
from data_prep.prepared import describe
from raysplit.errors import PopulationError
from raysplit.population.sets.emnist import SPLITS, EmnistSplit
from tests.data_prep.archives import archive, idx, lay, opened
from tests.data_prep.loopback import Remote, serving

CLASSES = {"byclass": 62, "bymerge": 47, "balanced": 47, "letters": 26, "digits": 10, "mnist": 10}


def characters(count: int, seed: int) -> np.ndarray:
    """Made-up upright characters, [count, 28, 28]: an L, whose long stroke goes down and whose short one goes right."""
    x = np.random.default_rng(seed).integers(0, 50, (count, 28, 28), dtype=np.uint8)
    x[:, 4:24, 6:9] = 255
    x[:, 21:24, 6:16] = 255
    return x


def labels(split: str, count: int, seed: int) -> np.ndarray:
    """Labels as the files have them, every class among them: from 1 in ``letters``, else from 0."""
    first, classes = int(split == "letters"), CLASSES[split]
    drawn = np.random.default_rng(seed).integers(0, classes, count)
    drawn[:classes] = np.arange(classes)
    return (first + drawn).astype(np.uint8)


def contents(split: str, train: int = 70, test: int = 64) -> dict[str, bytes]:
    """The four files of a split, not gzipped: images column by column, as NIST publishes them."""
    made = {}
    for seed, (part, count) in enumerate((("train", train), ("test", test))):
        made[f"emnist-{split}-{part}-images-idx3-ubyte"] = idx(characters(count, seed).transpose(0, 2, 1))
        made[f"emnist-{split}-{part}-labels-idx1-ubyte"] = idx(labels(split, count, seed))
    return made


def zipped(*splits: str) -> bytes:
    files = {name: content for split in splits for name, content in contents(split).items()}
    members = {f"gzip/{name}.gz": gzip.compress(content, 1) for name, content in files.items()}
    return archive({"gzip/": b"", "gzip/emnist-letters-mapping.txt": b"1 65 97\n", **members})


@pytest.mark.parametrize("split", SPLITS)
def test_characters_stand_upright_and_labels_count_from_0(tmp_path: Path, quiet: Console, split: EmnistSplit) -> None:
    source = lay(tmp_path / "given", contents(split))
    summary = emnist.prepare(tmp_path / "out.arrow", split=split, source=source, console=quiet)
    population = opened(tmp_path / "out.arrow")
    assert (summary.name, summary.clients, summary.classes) == (f"emnist-{split}", 1, CLASSES[split])
    assert (summary.train, summary.test) == (70, 64)
    for seed, (part, count) in enumerate(((population.train(0), 70), (population.test(0), 64))):
        assert np.array_equal(part.x[:, 0].numpy(), characters(count, seed))
        assert np.array_equal(part.y.numpy(), labels(split, count, seed) - (split == "letters"))
        assert set(part.y.tolist()) == set(range(CLASSES[split]))
    assert "turned upright" in summary.source and "of which no sums are published" in summary.source


@pytest.mark.parametrize("split", SPLITS)
def test_torchvision_reads_the_same_characters_lying_and_knows_the_same_classes(
    tmp_path: Path, quiet: Console, split: EmnistSplit
) -> None:
    import torchvision

    lay(tmp_path / "EMNIST" / "raw", contents(split))
    emnist.prepare(tmp_path / "out.arrow", split=split, source=tmp_path, console=quiet)
    population = opened(tmp_path / "out.arrow")
    for train in (True, False):
        reference = torchvision.datasets.EMNIST(str(tmp_path), split, train=train)
        ours = population.train(0) if train else population.test(0)
        assert np.array_equal(ours.x[:, 0].numpy(), reference.data.transpose(1, 2).numpy())
        assert np.array_equal(ours.y.numpy(), reference.targets.numpy() - (split == "letters"))
    named = [name.upper() if split == "letters" else name for name in reference.classes if name != "N/A"]
    assert list(emnist.CONTENTS[split].classes) == named


def test_the_classes_are_in_the_order_of_nist_s_mappings() -> None:
    capitals, small = string.ascii_uppercase, string.ascii_lowercase
    assert emnist.CONTENTS["byclass"].classes == string.digits + capitals + small
    assert emnist.CONTENTS["balanced"].classes[36:] == "abdefghnqrt" and len(emnist.CONTENTS["bymerge"].classes) == 47
    assert {split: len(emnist.CONTENTS[split].classes) for split in SPLITS} == CLASSES


def test_the_archive_is_read_without_being_unpacked_and_known_by_its_sum(
    tmp_path: Path, quiet: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = zipped("digits", "letters")
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "gzip.zip").write_bytes(whole)
    other = emnist.prepare(tmp_path / "a.arrow", split="letters", source=tmp_path / "given", console=quiet)
    assert "NOT the official one" in other.source and "134 samples (145,600 in the official set)" in other.source
    monkeypatch.setattr(emnist, "ARCHIVE_MD5", hashlib.md5(whole, usedforsecurity=False).hexdigest())
    known = emnist.prepare(tmp_path / "b.arrow", split="letters", source=tmp_path / "given", console=quiet)
    assert "from the official archive" in known.source and known == describe(tmp_path / "b.arrow")
    assert [file.name for file in (tmp_path / "given").iterdir()] == ["gzip.zip"]
    with pytest.raises(PopulationError, match=r"holds no emnist-balanced-train-images-idx3-ubyte\.gz"):
        emnist.prepare(tmp_path / "c.arrow", split="balanced", source=tmp_path / "given", console=quiet)


def test_one_download_serves_all_splits_and_another_file_is_refused(
    tmp_path: Path, quiet: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = zipped("digits", "letters")
    with serving(Remote({"gzip.zip": whole})) as remote:
        with pytest.raises(DownloadError, match="has the md5"):
            emnist.prepare(tmp_path / "digits.arrow", split="digits", mirror=remote.url, console=quiet)
        monkeypatch.setattr(emnist, "ARCHIVE_MD5", hashlib.md5(whole, usedforsecurity=False).hexdigest())
        emnist.prepare(tmp_path / "digits.arrow", split="digits", mirror=remote.url, console=quiet)
        asked = len(remote.requests)
        emnist.prepare(tmp_path / "letters.arrow", split="letters", mirror=remote.url, console=quiet)
        assert len(remote.requests) == asked
    assert opened(tmp_path / "letters.arrow").info.classes == 26


@pytest.mark.parametrize(
    ("split", "name", "spoil", "words"),
    [
        ("letters", "train-labels-idx1", lambda c: c[:8] + b"\0" + c[9:], "labels from 0 up to 26"),
        ("letters", "test-labels-idx1", lambda c: c[:-1] + b"\x1b", "labels from 1 up to 27"),
        ("digits", "test-labels-idx1", lambda c: c[:-1] + b"\x0a", "labels up to 10"),
        ("digits", "train-images-idx3", lambda c: c[:-1], "promises 70 × 28 × 28 bytes"),
        ("digits", "test-images-idx3", lambda c: b"", "is no idx file"),
    ],
)
def test_damaged_files_are_named(  # type: ignore[no-untyped-def]
    tmp_path: Path, quiet: Console, split: EmnistSplit, name: str, spoil, words: str
) -> None:
    files = contents(split)
    files[f"emnist-{split}-{name}-ubyte"] = spoil(files[f"emnist-{split}-{name}-ubyte"])
    with pytest.raises(PopulationError, match=words) as caught:
        emnist.prepare(tmp_path / "e.arrow", split=split, source=lay(tmp_path / "given", files), console=quiet)
    assert "\n" not in str(caught.value) and f"emnist-{split}-{name.split('-')[0]}" in str(caught.value)
    assert not list(tmp_path.glob("*.arrow"))


def test_a_cut_or_foreign_archive_and_an_empty_folder_are_one_sentence(tmp_path: Path, quiet: Console) -> None:
    whole = zipped("digits")
    broken = bytearray(whole)
    broken[whole.index(b"\x1f\x8b") + 40] ^= 0xFF
    for place, content in (
        ("cut", whole[:-100]),
        ("foreign", b"PK nonsense"),
        ("broken", bytes(broken)),
        ("none", b""),
    ):
        folder = tmp_path / place
        folder.mkdir()
        if content:
            (folder / "gzip.zip").write_bytes(content)
        with pytest.raises(PopulationError, match="cannot be read" if content else "holds no emnist-digits") as caught:
            emnist.prepare(tmp_path / "e.arrow", split="digits", source=folder, console=quiet)
        assert "\n" not in str(caught.value) and not list(tmp_path.glob("*.arrow"))
