"""LEAF's json: taken over exactly, split where it is not, and one sentence where it is wrong."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from data_prep.femnist import prepare
from tests.data_prep.archives import opened, refuses, rows

Leaf = dict[str, Any]


def leaf(users: dict[str, int], seed: int = 0) -> Leaf:
    """LEAF's json for users with so many samples, pixels k/255."""
    rng = np.random.default_rng(seed)
    data = {
        user: {"x": (rng.integers(0, 256, (n, 784)) / 255).tolist(), "y": rng.integers(0, 62, n).tolist()}
        for user, n in users.items()
    }
    return {"users": list(users), "num_samples": list(users.values()), "user_data": data}


def save(folder: Path, name: str, content: Leaf | str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    if name.endswith(".gz"):
        (folder / name).write_bytes(gzip.compress(text.encode()))
    else:
        (folder / name).write_text(text)
    return folder / name


@pytest.mark.parametrize("ending", [".json", ".json.gz"])
def test_leaf_json_is_taken_over_with_its_split_and_every_pixel(tmp_path: Path, quiet: Console, ending: str) -> None:
    source = tmp_path / "leaf"
    # File 10 sorts after file 2, and the test files pair their users otherwise than the training files.
    train = [leaf({"f1_1": 5, "f2_2": 3}), leaf({"f3_3": 9}, seed=1)]
    test = [leaf({"f3_3": 2, "f1_1": 1}, seed=2), leaf({"f2_2": 4}, seed=3)]
    for place, number in enumerate((2, 10)):
        save(source / "train", f"all_data_{number}_niid_0_keep_0_train_9{ending}", train[place])
        save(source / "test", f"all_data_{number}_niid_0_keep_0_test_9{ending}", test[place])
    prepare(tmp_path / "f.arrow", source=source, console=quiet)
    population = opened(tmp_path / "f.arrow")
    assert [population.name(k) for k in range(3)] == ["f1_1", "f2_2", "f3_3"]
    for k in range(3):
        name = population.name(k)
        for got, files in ((population.train(k), train), (population.test(k), test)):
            data = next(file["user_data"][name] for file in files if name in file["users"])
            assert np.array_equal(got.x.numpy().reshape(-1, 784) / 255, np.asarray(data["x"]))
            assert got.y.tolist() == data["y"]


@pytest.mark.parametrize("place", [".", "all_data", "data/all_data"])
def test_leaf_json_without_a_split_is_split_nine_to_one_in_order(tmp_path: Path, quiet: Console, place: str) -> None:
    whole = leaf({"a": 30, "b": 2, "c": 1, "d": 19})
    save(tmp_path / "leaf" / place, "all_data_0.json", whole)
    prepare(tmp_path / "f.arrow", source=tmp_path / "leaf", console=quiet)
    population = opened(tmp_path / "f.arrow")
    assert population.train_sizes(np.arange(4)).tolist() == [27, 1, 1, 17]
    assert population.test_sizes(np.arange(4)).tolist() == [3, 1, 0, 2]
    original = [bytes(np.rint(np.asarray(row) * 255).astype(np.uint8)) for row in whole["user_data"]["a"]["x"]]
    for part, other in ((population.train(0), population.test(0)), (population.test(0), population.train(0))):
        places = [original.index(x.numpy().tobytes()) for x in part.x]
        assert places == sorted(places)
        assert not {x.numpy().tobytes() for x in other.x} & {original[p] for p in places}


def test_whole_numbers_and_fewer_digits_are_pixels_too(tmp_path: Path, quiet: Console) -> None:
    content = leaf({"a": 2})
    content["user_data"]["a"]["x"] = [[1] * 784, [round(k % 256 / 255, 7) for k in range(784)]]
    save(tmp_path / "leaf", "x.json", content)
    prepare(tmp_path / "f.arrow", source=tmp_path / "leaf", console=quiet)
    assert {bytes(x) for x, _ in rows(opened(tmp_path / "f.arrow"), 0)} == {
        b"\xff" * 784,
        bytes(k % 256 for k in range(784)),
    }


def changed(change: str) -> Leaf | str:
    """LEAF's json of users ``a`` and ``b`` with one thing wrong."""
    content = leaf({"a": 3, "b": 2})
    text = json.dumps(content)
    b = content["user_data"]["b"]
    if change == "truncated":
        return text[: len(text) // 2]
    if change == "deep":
        return "[" * 200_000
    if change == "list":
        return "[1]"
    if change == "nan":
        b["x"][1][5] = float("nan")
    elif change == "no x":
        del b["x"]
    elif change == "no data":
        del content["user_data"]["b"]
    elif change == "no num_samples":
        del content["num_samples"]
    elif change == "unlisted":
        content["user_data"]["stranger"] = b
    elif change == "count":
        content["num_samples"][1] = 3
    elif change == "short labels":
        b["y"].pop()
    elif change == "short image":
        b["x"][1].pop()
    elif change == "text pixel":
        b["x"][1][5] = "white"
    elif change == "nested pixel":
        b["x"][1][5] = [1.0]
    elif change == "null pixel":
        b["x"][1][5] = None
    elif change == "huge pixel":
        b["x"][1][5] = 10**400
    elif change in {"-0.1", "1.1", "0.5", "255.0", "1e999"}:
        b["x"][1][0] = "HERE"
        return json.dumps(content).replace('"HERE"', change)
    elif change == "label 62":
        b["y"][1] = 62
    elif change == "label -1":
        b["y"][1] = -1
    elif change == "label 1.0":
        b["y"][1] = 1.0
    elif change == "label true":
        b["y"][1] = True
    elif change == "empty":
        content["num_samples"][1], b["x"], b["y"] = 0, [], []
    elif change == "twice":
        content["users"].append("a")
        content["num_samples"].append(3)
    elif change == "number":
        content["users"][1] = 7
    else:
        raise AssertionError(change)
    return content


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("truncated", ("not readable json",)),
        ("deep", ("not readable json",)),
        ("list", ("lacks 'num_samples', 'user_data', 'users'",)),
        ("nan", ("NaN is no number of LEAF's",)),
        ("no x", ("user 'b'", "no 'x' and 'y'")),
        ("no data", ("user 'b'", "no 'x' and 'y'")),
        ("no num_samples", ("lacks 'num_samples'",)),
        ("unlisted", ("user 'stranger'", "not listed")),
        ("count", ("user 'b'", "2 images and 2 labels", "says 3")),
        ("short labels", ("user 'b'", "2 images and 1 labels")),
        ("short image", ("user 'b'", "783 pixels in image 1, not 784")),
        ("text pixel", ("user 'b'", "not numbers")),
        ("nested pixel", ("user 'b'", "not numbers")),
        ("null pixel", ("user 'b'", "not numbers")),
        ("huge pixel", ("user 'b'", "not numbers")),
        ("-0.1", ("user 'b'", "the pixel -0.1 (image 1, pixel 0)", "k/255")),
        ("1.1", ("user 'b'", "the pixel 1.1")),
        ("0.5", ("user 'b'", "the pixel 0.5")),
        ("255.0", ("user 'b'", "the pixel 255.0")),
        ("1e999", ("user 'b'", "the pixel inf")),
        ("label 62", ("user 'b'", "the label 62 at sample 1", "0..61")),
        ("label -1", ("user 'b'", "the label -1")),
        ("label 1.0", ("user 'b'", "the label 1.0")),
        ("label true", ("user 'b'", "the label True")),
        ("empty", ("user 'b'", "no samples")),
        ("twice", ("user 'a'", "twice")),
        ("number", ("'users'", "lists")),
    ],
)
def test_bad_leaf_json_is_one_sentence_with_its_file_and_user(
    tmp_path: Path, quiet: Console, change: str, words: tuple[str, ...]
) -> None:
    save(tmp_path / "leaf" / "train", "good.json", leaf({"z": 2}))
    save(tmp_path / "leaf" / "test", "good.json", leaf({"z": 2}))
    bad = save(tmp_path / "leaf" / "train", "bad.json", changed(change))
    refuses(tmp_path, tmp_path / "leaf", quiet, str(bad), *words)


def test_a_truncated_gzip_and_bytes_that_are_no_text_are_one_sentence(tmp_path: Path, quiet: Console) -> None:
    whole = gzip.compress(json.dumps(leaf({"a": 3})).encode())
    for content in (whole[: len(whole) // 2], b"\x1f\x8b", b"{}", gzip.compress(b"\xff\xfe"), whole[:-8] + b"\0" * 8):
        save(tmp_path / "leaf", "a.json.gz", "").write_bytes(content)
        refuses(tmp_path, tmp_path / "leaf", quiet, "a.json.gz", "not readable json")


def test_a_user_with_a_test_set_only_is_named_with_the_file(tmp_path: Path, quiet: Console) -> None:
    save(tmp_path / "leaf" / "train", "t.json", leaf({"a": 3}))
    test = save(tmp_path / "leaf" / "test", "t.json", leaf({"a": 1, "ghost": 1}))
    refuses(tmp_path, tmp_path / "leaf", quiet, str(test), "user 'ghost'", "test set")


def test_a_user_in_two_files_is_named_with_both(tmp_path: Path, quiet: Console) -> None:
    for part in ("train", "test"):
        first = save(tmp_path / "leaf" / part, "1.json", leaf({"a": 3}))
        second = save(tmp_path / "leaf" / part, "2.json", leaf({"a": 3}))
    refuses(tmp_path, tmp_path / "leaf", quiet, "user 'a'", str(first), str(second))


def test_a_folder_with_half_a_split_with_nothing_or_not_there_is_one_sentence(tmp_path: Path, quiet: Console) -> None:
    refuses(tmp_path, tmp_path / "nowhere", quiet, "no folder")
    (tmp_path / "leaf").mkdir()
    refuses(tmp_path, tmp_path / "leaf", quiet, "by_class.zip", "train/ and test/")
    save(tmp_path / "leaf" / "train", "t.json", leaf({"a": 3}))
    refuses(tmp_path, tmp_path / "leaf", quiet, "'test'", "half")
