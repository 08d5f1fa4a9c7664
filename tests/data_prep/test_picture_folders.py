"""What is a class, a client, a part of a split, a picture and none of these; nothing is lost in silence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from data_prep.image_folder import prepare
from data_prep.prepared import Summary
from raysplit.errors import PopulationError
from tests.data_prep.archives import opened
from tests.data_prep.test_image_folder import fill, picture


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "photos"


def prepared(folder: Path, **options: bool) -> Summary:
    return prepare(folder.with_suffix(".arrow"), source=folder, console=Console(quiet=True), **options)


def refuses(folder: Path, words: str, **options: bool) -> None:
    with pytest.raises(PopulationError, match=words) as caught:
        prepared(folder, **options)
    assert "\n" not in str(caught.value) and not list(folder.parent.glob("*.arrow"))


def test_numbers_are_classes_and_clients_in_their_order_as_in_tables(folder: Path) -> None:
    """Class k has k + 1 pictures, client k starts with class k."""
    fill(folder, {str(k): k + 1 for k in range(12)})
    summary = prepared(folder)
    assert summary.histogram == tuple(range(1, 13))
    assert "classes 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, numbered from 0" in summary.source
    for client in (1, 2, 10):
        fill(folder.parent / "homes" / str(client), {"a": client})
    prepared(folder.parent / "homes", by_client=True)
    population = opened(folder.parent / "homes.arrow")
    assert [population.name(k) for k in range(3)] == ["1", "2", "10"]


def test_names_that_are_not_all_plain_numbers_are_in_the_order_of_texts(folder: Path) -> None:
    fill(folder, {"01": 1, "10": 2, "2": 3})
    assert prepared(folder).histogram == (1, 2, 3)
    fill(folder.parent / "mixed", {"1": 1, "10": 2, "2": 3, "cat": 4})
    assert prepared(folder.parent / "mixed").histogram == (1, 2, 3, 4)


def test_what_operating_systems_leave_behind_is_no_class_and_no_picture(folder: Path) -> None:
    fill(folder, {"cat": 3, "dog": 4})
    digest = prepared(folder).digest
    fill(folder / "__MACOSX", {"cat": 1})
    picture(folder / ".hidden" / "1.png", 1)
    for name in ("cat/._00.png", "cat/.DS_Store", "cat/Thumbs.db", "desktop.ini", "dog/__MACOSX/._00.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"litter")
    summary = prepared(folder)
    assert summary.digest == digest and summary.classes == 2 and "left out" not in summary.source


def test_other_files_are_left_out_by_name_and_number(folder: Path) -> None:
    fill(folder, {"cat": 3, "dog": 4})
    (folder / "README").write_text("about")
    (folder / "cat" / "labels.csv").write_text("a,b")
    assert "; left out, being no pictures: 'README', 'cat/labels.csv';" in prepared(folder).source
    for number in range(20):
        (folder / "dog" / f"{number:02d}.txt").write_text("x")
    assert "'README', 'cat/labels.csv', 'dog/00.txt', 'dog/01.txt', 'dog/02.txt' and 17 more" in prepared(folder).source


@pytest.mark.parametrize("name", ["3.gif", "3.GIF", "3.webp", "3.tiff", "3.TIF", "3.BMP", "3.Jpeg", "3.jfif", "3.ppm"])
def test_every_kind_that_is_read_is_read_whatever_the_case_of_its_suffix(folder: Path, name: str) -> None:
    fill(folder, {"cat": 2})
    Image.new("RGB", (6, 5), (255, 255, 255)).save(
        folder / "cat" / name, "JPEG" if "J" in name or "jf" in name else None
    )
    assert prepared(folder).histogram == (3,)
    assert any((x == 255).all() for x in opened(folder.with_suffix(".arrow")).train(0).x)


@pytest.mark.parametrize("name", ["3.avif", "3.HEIC", "3.npy", "3.jp2", "3.svg", "3.dcm"])
def test_a_picture_of_a_kind_that_is_not_read_is_refused(folder: Path, name: str) -> None:
    fill(folder, {"cat": 2})
    (folder / "cat" / name).write_bytes(b"x")
    refuses(folder, f"cat/{name}' is of a kind that is not read here; convert it to PNG")


def test_pictures_at_a_wrong_depth_are_refused(folder: Path) -> None:
    fill(folder / "ann", {"cat": 2})
    refuses(folder, "ann/cat' is a folder within a class's folder, .*name --by-client")
    fill(folder / "ann" / "cat", {"old": 1})
    refuses(folder, "ann/cat/old' is a folder within a class's folder, .*move its pictures up", by_client=True)
    fill(folder.parent / "flat", {"cat": 2})
    picture(folder.parent / "flat" / "stray.JPG", 3)
    refuses(folder.parent / "flat", "stray.JPG' lies in no class's folder; the layout is CLASS/PICTURE")
    (folder.parent / "flat" / "stray.JPG").unlink()
    refuses(folder.parent / "flat", "cat/00.png' lies in no class's folder; .*leave --by-client out", by_client=True)


def test_an_empty_folder_deep_down_or_of_one_client_is_nothing_but_an_empty_class_is_refused(folder: Path) -> None:
    fill(folder, {"cat": 2})
    (folder / "cat" / "old").mkdir()
    assert prepared(folder).classes == 1
    folder.with_suffix(".arrow").unlink()
    folder.with_suffix(".clients.arrow").unlink()
    (folder / "dog").mkdir()
    refuses(folder, "the class 'dog' of .* has no picture anywhere; take its folder away, or fill it")
    fill(folder.parent / "homes" / "ann", {"cat": 2, "dog": 1})
    fill(folder.parent / "homes" / "bob", {"cat": 2})
    (folder.parent / "homes" / "bob" / "dog").mkdir()
    assert prepared(folder.parent / "homes", by_client=True).histogram == (4, 1)


@pytest.mark.parametrize(
    ("train", "test"), [("train", "test"), ("train", "val"), ("Training", "Validation"), ("TRAIN", "valid")]
)
@pytest.mark.parametrize("by_client", [False, True])
def test_top_folders_may_be_parts_of_a_split(folder: Path, train: str, test: str, by_client: bool) -> None:
    level = "ann" if by_client else ""
    fill(folder / train / level, {"a": 2, "b": 3})
    fill(folder / test / level, {"a": 1, "b": 1}, 50)
    summary = prepared(folder, by_client=by_client)
    assert (summary.classes, summary.train, summary.test) == (2, 5, 2)
    assert f"{train}/ and {test}/ kept as the split" in summary.source


def test_of_three_parts_the_validation_part_is_left_out_with_its_number(folder: Path) -> None:
    for part, count in (("train", 5), ("val", 3), ("test", 2)):
        fill(folder / part, {"a": count, "b": count})
    summary = prepared(folder)
    assert (summary.train, summary.test) == (10, 4)
    assert "train/ and test/ kept as the split (val/ with its 6 pictures left out)" in summary.source


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (("train", "cats"), "has 'cats' beside 'train': its folders must all be parts of a split"),
        (("train",), "has 'train' only; add the test part beside it, or name '.*train' with --from"),
        (("val", "test"), "has 'test', but no 'train' beside it"),
        (("train", "val", "validation"), "has 'val' and 'validation', which are one part of a split; join them"),
    ],
)
def test_a_split_that_is_none_is_refused(folder: Path, parts: tuple[str, ...], words: str) -> None:
    for part in parts:
        fill(folder / part, {"a": 2})
    refuses(folder, words)


def test_a_folder_called_train_with_pictures_in_it_is_a_class(folder: Path) -> None:
    fill(folder, {"plane": 2, "train": 3})
    assert prepared(folder).histogram == (2, 3)


def test_a_packed_folder_is_to_be_unpacked_first(tmp_path: Path, quiet: Console) -> None:
    (tmp_path / "photos.zip").write_bytes(b"PK")
    with pytest.raises(PopulationError, match=r"photos\.zip' is a file; unpack it and name the folder"):
        prepare(tmp_path / "p.arrow", source=tmp_path / "photos.zip", console=quiet)


def test_ink_on_transparent_ground_survives_beside_pictures_of_other_kinds(folder: Path) -> None:
    ink = np.zeros((5, 6, 4), np.uint8)
    ink[2, 3] = (0, 0, 0, 255)
    fill(folder, {"cat": 1})
    Image.fromarray(ink).save(folder / "cat" / "ink.png")
    prepared(folder)
    sample = opened(folder.with_suffix(".arrow")).train(0).x[1]
    assert sample.max() == 255 and sample.min() == 0 and int((sample == 0).sum()) == 3
