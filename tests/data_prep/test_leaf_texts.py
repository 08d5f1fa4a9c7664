"""LEAF's Shakespeare and Sent140: taken over exactly, in LEAF's splits, and one sentence where something is wrong."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from data_prep import femnist, sent140, shakespeare
from raysplit.errors import PopulationError
from raysplit.models.bag_of_words import bag_of_words
from raysplit.models.stacked_lstm import sent140_lstm, shakespeare_lstm, stacked_lstm
from raysplit.population.sets import sent140 as sent140_set
from raysplit.population.sets import shakespeare as shakespeare_set
from raysplit.population.text.characters import ALPHABET, encode, windows
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.scenario.population_check import check_population
from tests.data_prep.archives import opened
from tests.data_prep.test_leaf_json import leaf, save
from tests.toys import play, toy

LINES = "To be, or not to be:  that is the question.\nWhether 'tis nobler\n"


def leafs_windows(text: str) -> dict[str, Any]:
    """As LEAF's code puts them into json: 80 blanks before a line, then a window of 80 and the next character."""
    x, y = [], []
    for line in text.replace("  ", " ").splitlines(keepends=True):
        padded = " " * 80 + line
        for place in range(len(line)):
            x.append(padded[place : place + 80])
            y.append(padded[place + 80])
    return {"x": x, "y": y}


def content(users: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {"users": list(users), "num_samples": [len(user["y"]) for user in users.values()], "user_data": users}


def roles(*names: str, times: int = 1) -> dict[str, Any]:
    return content({name: leafs_windows((name + ". " + LINES) * times) for name in names})


def tweets(**users: list[tuple[str, int]]) -> dict[str, Any]:
    """LEAF's rows are (id, date, query, user, text)."""
    rows = {
        user: {"x": [["1", "May", "NO_QUERY", user, text] for text, _ in own], "y": [label for _, label in own]}
        for user, own in users.items()
    }
    return content(rows)


def read(numbers: np.ndarray) -> list[str]:
    return ["".join(ALPHABET[number] for number in row.ravel()) for row in numbers]


def test_leafs_alphabet_is_eighty_characters_and_others_are_the_last():
    assert len(ALPHABET) == len(set(ALPHABET)) == 80
    assert encode(ALPHABET).tolist() == list(range(80))
    assert encode("é*\U0001f600").tolist() == [79, 79, 79]


def test_windows_are_those_of_leaf():
    x, y = windows(LINES)
    expected = leafs_windows(LINES)
    assert read(x) == expected["x"] and [ALPHABET[number] for number in y] == expected["y"]
    assert x.shape == (len(y), 1, 1, 80) and len(y) == len(LINES) - 1  # two blanks became one
    assert windows("")[0].shape == (0, 1, 1, 80)


def test_shakespeare_in_leafs_split_by_sample_is_taken_over(tmp_path: Path, quiet: Console) -> None:
    train, test = roles("HAMLET", "LEAR"), roles("LEAR", "HAMLET")
    save(tmp_path / "leaf" / "train", "all_data_niid_0_keep_0_train_9.json", train | {"hierarchies": ["A", "B"]})
    save(tmp_path / "leaf" / "test", "all_data_niid_0_keep_0_test_9.json", test)
    shakespeare.prepare(tmp_path / "s.arrow", source=tmp_path / "leaf", console=quiet)
    population = opened(tmp_path / "s.arrow")
    assert [population.name(k) for k in range(2)] == ["HAMLET", "LEAR"]
    assert population.info.shape == (1, 1, 80) and population.info.classes == 80 and population.info.unseen == 0
    for k, name in enumerate(("HAMLET", "LEAR")):
        for got, whole in ((population.train(k), train), (population.test(k), test)):
            assert read(got.x.numpy()) == whole["user_data"][name]["x"]
            assert [ALPHABET[label] for label in got.y.tolist()] == whole["user_data"][name]["y"]


def test_shakespeare_is_split_as_leaf_splits_it_in_order_and_with_a_gap(tmp_path: Path, quiet: Console) -> None:
    whole = roles("LONG", times=20)
    short = roles("SHORT")
    whole["user_data"] |= short["user_data"]
    whole["users"].append("SHORT")
    whole["num_samples"] += short["num_samples"]
    save(tmp_path / "leaf" / "all_data", "all_data.json", whole)
    shakespeare.prepare(tmp_path / "s.arrow", source=tmp_path / "leaf", console=quiet)
    population = opened(tmp_path / "s.arrow")
    x = whole["user_data"]["LONG"]["x"]
    train = len(x) * 9 // 10
    assert read(population.train(0).x.numpy()) == x[:train]
    assert read(population.test(0).x.numpy()) == x[train + 79 :]
    assert len(population.test(0).y) == len(x) - train - 79 > 0
    assert len(population.test(1).y) == 0  # too short for a gap: it trains only


def test_a_folder_of_texts_is_a_client_a_file(tmp_path: Path, quiet: Console) -> None:
    (tmp_path / "roles").mkdir()
    for name, times in (("b", 1), ("a", 15), ("silent", 0)):
        (tmp_path / "roles" / f"{name}.txt").write_text(LINES * times)
    shakespeare.prepare(tmp_path / "s.arrow", source=tmp_path / "roles", console=quiet)
    population = opened(tmp_path / "s.arrow")
    assert population.info.clients == 2 and [population.name(k) for k in range(2)] == ["a", "b"]
    x, _ = windows(LINES * 15)
    assert np.array_equal(population.train(0).x.numpy(), x[: len(x) * 9 // 10])
    shakespeare.prepare(tmp_path / "s.arrow", source=tmp_path / "roles", least=500, console=quiet)
    assert opened(tmp_path / "s.arrow").info.clients == 1


@pytest.mark.parametrize("name", ["shakespeare", "sent140", "femnist"])
def test_leafs_split_by_user_leaves_its_test_users_unseen(tmp_path: Path, quiet: Console, name: str) -> None:
    made: dict[str, Callable[[str], dict[str, Any]]] = {
        "shakespeare": roles,
        "sent140": lambda user: tweets(**{user: [("good", 1), ("bad", 0)]}),
        "femnist": lambda user: leaf({user: 4}),
    }
    for part, users in (("train", "abc"), ("test", "yz")):
        for user in users:
            save(tmp_path / "leaf" / part, f"{user}_{part}_9.json", made[name](user))
    module = {"shakespeare": shakespeare, "sent140": sent140, "femnist": femnist}[name]
    summary = module.prepare(tmp_path / "u.arrow", source=tmp_path / "leaf", console=quiet)  # type: ignore[attr-defined]
    population = opened(tmp_path / "u.arrow")
    assert [population.name(k) for k in range(5)] == list("abcyz") and population.info.unseen == 2
    ids = np.arange(5)
    assert population.train_sizes(ids)[:3].all() and not population.train_sizes(ids)[3:].any()
    assert population.test_sizes(ids)[3:].all() and not population.test_sizes(ids)[:3].any()
    if name != "femnist":
        assert "5, 2 of them only to test on" in str(summary)


@pytest.mark.parametrize("name", ["shakespeare", "sent140"])
def test_what_leaf_has_not_split_can_be_split_by_user(tmp_path: Path, quiet: Console, name: str) -> None:
    users = [f"user{number:02}" for number in range(20)]
    whole = roles(*users) if name == "shakespeare" else tweets(**{user: [(user, 1)] * 3 for user in users})
    save(tmp_path / "leaf", "all_data.json", whole)
    module: Any = {"shakespeare": shakespeare, "sent140": sent140}[name]
    module.prepare(tmp_path / "u.arrow", source=tmp_path / "leaf", by="user", console=quiet)
    population = opened(tmp_path / "u.arrow")
    names = [population.name(k) for k in range(20)]
    assert population.info.unseen == 2 and sorted(names) == users
    assert names[:18] == sorted(names[:18]) and names[18:] == sorted(names[18:])
    ids = np.arange(20)
    expected = [len(whole["user_data"][user]["y"]) for user in names]
    assert population.train_sizes(ids).tolist() == [*expected[:18], 0, 0]
    assert population.test_sizes(ids).tolist() == [*[0] * 18, *expected[18:]]
    with pytest.raises(PopulationError, match="--by must be user or sample, as LEAF's -t, not 'role'"):
        module.prepare(tmp_path / "u.arrow", source=tmp_path / "leaf", by="role", console=quiet)
    (tmp_path / "leaf" / "all_data.json").unlink()
    for part in ("train", "test"):
        save(tmp_path / "leaf" / part, "t.json", whole)
    with pytest.raises(PopulationError, match="LEAF has split these json files already; leave --by out"):
        module.prepare(tmp_path / "u.arrow", source=tmp_path / "leaf", by="user", console=quiet)


GOOD = [("I am happy, HAPPY; happy", 1), ("sad sad you!", 0), ("don't", 0), ("you? happy", 1)]


def test_tweets_become_the_numbers_of_their_words(tmp_path: Path, quiet: Console) -> None:
    save(tmp_path / "leaf" / "train", "t.json", tweets(ann=GOOD, bob=[("sad", 0)] * 2))
    save(tmp_path / "leaf" / "test", "t.json", tweets(ann=[("new happy !", 1)]))
    sent140.prepare(tmp_path / "s.arrow", source=tmp_path / "leaf", words=4, console=quiet)
    population = opened(tmp_path / "s.arrow")
    # Four each of "happy" and "sad", by the alphabet; "you" twice; of the words that come once, the first is "!".
    known = {"happy": 1, "sad": 2, "you": 3, "!": 4}
    rows = population.train(0).x.numpy()[:, 0, 0]
    assert rows.dtype == np.float32 and rows.shape == (4, 25)
    expected = [
        ["i", "am", "happy", ",", "happy", ";", "happy"],
        ["sad", "sad", "you", "!"],
        ["don't"],
        ["you", "?", "happy"],
    ]
    assert [row[: len(e)].tolist() for row, e in zip(rows, expected, strict=True)] == [
        [known.get(word, 0) for word in e] for e in expected
    ]
    assert population.train(0).y.tolist() == [1, 0, 0, 1]
    assert population.test(0).x.flatten().tolist()[:4] == [0, 1, 4, 0]
    assert (
        population.info.classes == 2 and "4 words that are the most frequent in training" in population.info.description
    )


def test_words_are_numbered_as_a_file_of_vectors_has_them(tmp_path: Path, quiet: Console) -> None:
    (tmp_path / "glove.txt").write_text("sad 1 2\nthe 3 4\nhappy 5 6\n")
    save(tmp_path / "leaf", "all_data.json", tweets(ann=[("happy the sad", 1)] * 3))
    options: dict[str, Any] = {"source": tmp_path / "leaf", "vectors": tmp_path / "glove.txt", "console": quiet}
    sent140.prepare(tmp_path / "s.arrow", words=3, **options)
    assert opened(tmp_path / "s.arrow").train(0).x[0].flatten().tolist()[:4] == [3, 2, 1, 0]
    with pytest.raises(PopulationError, match=r"--vectors: word vectors .* are of 3 words, but 4 are asked for"):
        sent140.prepare(tmp_path / "s.arrow", words=4, **options)


def test_tweets_become_the_numbers_of_their_characters(tmp_path: Path, quiet: Console) -> None:
    save(tmp_path / "leaf", "all_data.json", tweets(ann=[("Hi ~é", 1), ("x" * 200, 0)]))
    sent140.prepare(tmp_path / "s.arrow", source=tmp_path / "leaf", characters=True, console=quiet)
    x = opened(tmp_path / "s.arrow").train(0).x
    assert x.shape[1:] == (1, 1, 140)
    both = np.concatenate([x.numpy(), opened(tmp_path / "s.arrow").test(0).x.numpy()])[:, 0, 0]
    assert sorted(row[:6].tolist() for row in both) == [[41, 74, 1, 95, 0, 0], [89] * 6]


def published(rows: list[tuple[str, str, str]]) -> bytes:
    """Rows of (polarity, user, text) as the authors publish them."""
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows((p, "1", "May", "NO_QUERY", user, text) for p, user, text in rows)
    return out.getvalue().encode("latin-1")


@pytest.mark.parametrize("packed", [True, False])
def test_the_published_tables_are_read_as_leaf_reads_them(tmp_path: Path, quiet: Console, packed: bool) -> None:
    training = published([("4", "zoe", "good né"), ("0", "amy", "bad"), ("4", "amy", "good"), ("0", "one", "bad")])
    test = published([("2", "zoe", "so so")])
    folder = tmp_path / "tables"
    folder.mkdir()
    if packed:
        with zipfile.ZipFile(folder / sent140.ARCHIVE, "w") as archive:
            for name, table in zip(sent140.TABLES, (training, test), strict=True):
                archive.writestr(name, table)
    else:
        for name, table in zip(sent140.TABLES, (training, test), strict=True):
            (folder / name).write_bytes(table)
    sent140.prepare(tmp_path / "s.arrow", source=folder, console=quiet)
    population = opened(tmp_path / "s.arrow")
    assert [population.name(k) for k in range(2)] == ["amy", "zoe"] and population.info.clients == 2
    labels = [sorted(population.train(k).y.tolist() + population.test(k).y.tolist()) for k in range(2)]
    assert labels == [[0, 1], [0, 1]]  # a neutral tweet is LEAF's class 0


def broken(kind: str) -> dict[str, Any]:
    made = roles("A") if kind in ("window", "next", "number") else tweets(A=GOOD)
    data = made["user_data"]["A"]
    if kind == "window":
        data["x"][3] = data["x"][3][1:]
    elif kind == "next":
        data["y"][2] = ""
    elif kind == "number":
        data["y"][2] = 7
    elif kind == "tweet":
        data["x"][1] = ["1", "May"]
    elif kind == "label":
        data["y"][1] = 4
    return made


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("window", r"user 'A' has 79 characters in window 3, not 80"),
        ("next", r"user 'A' has 0 characters in next character 2, not 1"),
        ("number", r"user 'A' has no text in next character 2, not 1"),
        ("tweet", r"user 'A' has no text in tweet 1, whose fifth item must be one"),
        ("label", r"user 'A' has the label 4 at sample 1, not 0 or 1"),
    ],
)
def test_json_that_is_not_leafs_is_one_sentence(tmp_path: Path, quiet: Console, kind: str, words: str) -> None:
    save(tmp_path / "leaf", "all_data.json", broken(kind))
    module: Any = shakespeare if kind in ("window", "next", "number") else sent140
    with pytest.raises(PopulationError, match=words):
        module.prepare(tmp_path / "s.arrow", source=tmp_path / "leaf", console=quiet)


def test_what_cannot_be_prepared_is_one_sentence(tmp_path: Path, quiet: Console) -> None:
    out = tmp_path / "s.arrow"
    with pytest.raises(PopulationError, match="shakespeare is prepared from a folder with LEAF's json"):
        shakespeare.prepare(out, console=quiet)
    (tmp_path / "empty").mkdir()
    for module in (shakespeare, sent140):
        with pytest.raises(PopulationError, match="holds neither LEAF's json"):
            module.prepare(out, source=tmp_path / "empty", console=quiet)
    save(tmp_path / "leaf", "all_data.json", tweets(ann=GOOD))
    with pytest.raises(PopulationError, match="no client has 64 samples or more; choose a smaller --least"):
        sent140.prepare(out, source=tmp_path / "leaf", least=64, console=quiet)
    with pytest.raises(PopulationError, match="--characters makes numbers of characters, which have no --vectors"):
        sent140.prepare(out, source=tmp_path / "leaf", characters=True, vectors=tmp_path / "g.txt", console=quiet)
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / sent140.TABLES[0]).write_bytes(published([("4", "zoe", "x"), ("7", "zoe", "x")]))
    with pytest.raises(PopulationError, match=r"row 2 of training.* is not a polarity 0, 2 or 4"):
        sent140.prepare(out, source=tmp_path / "tables", console=quiet)
    assert not out.exists()


@pytest.mark.parametrize("kind", ["shakespeare", "words", "bag", "characters"])
def test_what_is_prepared_trains_the_networks_for_it(tmp_path: Path, quiet: Console, kind: str) -> None:
    out = str(tmp_path / "s.arrow")
    if kind == "shakespeare":
        save(tmp_path / "leaf", "all_data.json", roles("A", "B", times=13))
        shakespeare.prepare(Path(out), source=tmp_path / "leaf", console=quiet)
        population, model = shakespeare_set.shakespeare(out), shakespeare_lstm(hidden=4)
    else:
        save(tmp_path / "leaf", "all_data.json", tweets(a=GOOD, b=GOOD))
        characters = kind == "characters"
        sent140.prepare(Path(out), source=tmp_path / "leaf", characters=characters, console=quiet)
        population = sent140_set.sent140(out)
        networks = {"words": sent140_lstm(20, dim=3, hidden=4), "bag": bag_of_words(20, units=3)}
        model = networks.get(kind) or stacked_lstm(96, 140, 2, hidden=4)  # type: ignore[assignment]
    changes = {"population": population, "model": model, "training.batch_size": None, "evaluation.every": 2}
    scenario = toy(SplitFedV2(), clients=2, pixels="bytes").replace(**changes)
    check_population(scenario, population.open().info)
    played = play(scenario)
    assert not played.diverged and played.tables["evaluations"].num_rows
