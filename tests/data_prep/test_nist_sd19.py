"""Writers from archives of NIST's layout: whole, damaged and of other things."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from data_prep.femnist import prepare
from data_prep.nist_sd19 import class_index
from tests.data_prep.archives import archive, grey28, nist, opened, png, refuses, rows


def test_archives_become_writers_with_the_classes_of_their_images(sd19: Path, tmp_path: Path, quiet: Console) -> None:
    summary = prepare(tmp_path / "femnist.arrow", source=sd19, console=quiet)
    population = opened(tmp_path / "femnist.arrow")
    _, _, truth = nist()
    assert (summary.users, summary.samples, summary.train, summary.test) == (3, 36, 30, 6)
    assert [population.name(k) for k in range(3)] == sorted(truth)
    for k, writer in enumerate(sorted(truth)):
        expected = sorted((grey28(png(seed)).tobytes(), label) for seed, label in truth[writer])
        assert rows(population, k) == expected
    assert population.info.shape == (1, 28, 28) and population.info.classes == 62 and not population.info.synthetic


def test_resized_characters_have_a_white_background_and_dark_ink(sd19: Path, tmp_path: Path, quiet: Console) -> None:
    prepare(tmp_path / "femnist.arrow", source=sd19, console=quiet)
    x = opened(tmp_path / "femnist.arrow").train(0).x
    assert x[:, 0, 0, 0].tolist() == [255] * len(x) and int(x.min()) < 30


def test_the_folders_of_by_class_are_ascii_codes() -> None:
    assert [class_index(f"{ord(c):02x}") for c in "09AZaz"] == [0, 9, 10, 35, 36, 61]
    known = [f"{code:02x}" for code in range(128) if chr(code).isalnum()]
    assert [class_index(folder) for folder in known] == list(range(62))
    for folder in ("2f", "3a", "40", "5b", "60", "7b", "ff"):
        with pytest.raises(ValueError, match="neither a digit nor a letter"):
            class_index(folder)


def test_an_image_that_lies_in_two_classes_has_the_first_as_in_leaf(sd19: Path, tmp_path: Path, quiet: Console) -> None:
    (sd19 / "by_class.zip").write_bytes(archive({"by_class/61/hsf_0/a.png": png(1), "by_class/41/hsf_0/b.png": png(1)}))
    (sd19 / "by_write.zip").write_bytes(archive({"by_write/hsf_0/f0000_14/c0000_14/x.png": png(1)}))
    prepare(tmp_path / "f.arrow", source=sd19, console=quiet)
    assert opened(tmp_path / "f.arrow").train(0).y.tolist() == [10]


def test_only_the_hsf_folders_of_a_class_count_as_in_leaf(sd19: Path, tmp_path: Path, quiet: Console) -> None:
    by_class = {"by_class/30/hsf_0/a.png": png(1), "by_class/30/train_30/b.png": png(2)}
    (sd19 / "by_class.zip").write_bytes(archive(by_class))
    (sd19 / "by_write.zip").write_bytes(archive({"by_write/hsf_0/f0000_14/d0000_14/x.png": png(2)}))
    refuses(tmp_path, sd19, quiet, "no class")


def spoiled(members: dict[str, bytes]) -> bytes:
    """An archive whose compressed bytes are damaged, while its directory is whole."""
    content = bytearray(archive(members))
    for place in range(len(content) // 4, len(content) // 2):
        content[place] ^= 0x55
    return bytes(content)


def bomb() -> bytes:
    """A PNG that promises 60,000 x 60,000 pixels."""
    content = bytearray(png(0))
    content[16:24] = (60_000).to_bytes(4, "big") * 2
    return bytes(content)


FIRST = "by_write/hsf_0/f0000_14/d0000_14/d0000_14_00000.png"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("by_class.zip", b"PK\x03\x04 and then nothing", ("by_class.zip", "not a readable zip", "download")),
        ("by_write.zip", b"", ("by_write.zip", "not a readable zip")),
        ("by_write.zip", archive(nist()[1])[:-100], ("by_write.zip", "not a readable zip")),
        ("by_class.zip", archive({"readme.txt": b""}), ("by_class.zip", "by_class/HEX/hsf_*/*.png")),
        ("by_write.zip", archive(nist()[0]), ("by_write.zip", "by_write/hsf_*")),
        ("by_class.zip", spoiled(nist()[0]), ("by_class.zip", "cannot be read")),
        ("by_class.zip", archive({"by_class/2f/hsf_0/a.png": png(0)}), ("by_class.zip", "'/'", "digit nor a letter")),
        ("by_write.zip", archive(nist()[1] | {FIRST: png(77_777)}), (FIRST, "no class", "download both again")),
        ("by_write.zip", archive(nist()[1] | {FIRST: b"\0" * ((1 << 20) + 1)}), (FIRST, "1,048,577 bytes")),
    ],
)
def test_archives_that_are_damaged_or_others_are_one_sentence(
    sd19: Path, tmp_path: Path, quiet: Console, name: str, content: bytes, words: tuple[str, ...]
) -> None:
    (sd19 / name).write_bytes(content)
    refuses(tmp_path, sd19, quiet, *words)


@pytest.mark.parametrize("image", [b"GIF89a", png(0)[:200], bomb(), png(0, side=20)])
def test_an_image_that_is_none_is_named(sd19: Path, tmp_path: Path, quiet: Console, image: bytes) -> None:
    by_class, by_write, _ = nist()
    (sd19 / "by_class.zip").write_bytes(archive(by_class | {"by_class/30/hsf_0/hsf_0_00000.png": image}))
    (sd19 / "by_write.zip").write_bytes(archive(by_write | {FIRST: image}))
    refuses(tmp_path, sd19, quiet, FIRST, "not a readable character")
