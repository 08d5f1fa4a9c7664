"""Data that are prepared, and populations that are opened."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from raysplit.population.arrow_writer import ClientData, write_population
from tests.errors.making import CASES, TINY, case, edited, on_file, population, scenario

CASES["data-unknown"] = lambda here: ["data", "prepare", "femnits"]
CASES["data-from-nowhere"] = lambda here: ["data", "prepare", "femnist", "--from", "nowhere", "--out", "femnist.arrow"]
CASES["data-info-nothing"] = lambda here: ["data", "info", "nowhere.arrow"]
CASES["data-option"] = lambda here: ["data", "prepare", "mnist", "--size", "64"]
CASES["data-table-label"] = lambda here: ["data", "prepare", "table", "--from", "t.csv", "--out", "t.arrow"]
CASES["data-own-out"] = lambda here: ["data", "prepare", "image_folder", "--from", "."]
CASES["data-shakespeare"] = lambda here: ["data", "prepare", "shakespeare"]
CASES["data-least"] = lambda here: tweets(here, "--least", "64")
CASES["data-vectors"] = lambda here: tweets(here, "--vectors", "glove.txt")
CASES["data-characters"] = lambda here: tweets(here, "--vectors", "glove.txt", "--characters")
CASES["data-label-of-tweets"] = lambda here: tweets(here, label=4)
CASES["data-info-name"] = lambda here: ["data", "info", "femnits"]


def tweets(here: Path, *options: str, label: int = 1) -> list[str]:
    """Preparing LEAF's json of one user with one tweet."""
    own = {"x": [["1", "May", "NO_QUERY", "ann", "happy"]] * 2, "y": [label, 0]}
    (here / "leaf").mkdir()
    content = {"users": ["ann"], "num_samples": [2], "user_data": {"ann": own}}
    (here / "leaf" / "all_data.json").write_text(json.dumps(content))
    return ["data", "prepare", "sent140", "--from", "leaf", "--out", "tweets.arrow", *options]


def photos(here: Path, name: str, mode: str = "RGB", **options: Any) -> list[str]:
    """Preparing a folder with one good picture of class ``cat``, and one called ``name``."""
    from PIL import Image

    for file in (here / "photos" / "cat" / "1.png", here / "photos" / name):
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB" if file.name == "1.png" else mode, (4, 4)).save(
            file, **({} if file.name == "1.png" else options)
        )
    return ["data", "prepare", "image_folder", "--from", "photos", "--out", "photos.arrow"]


def table(here: Path, text: str, encoding: str = "utf-8") -> list[str]:
    """Preparing a table of that text."""
    (here / "t.csv").write_bytes(text.encode(encoding))
    return ["data", "prepare", "table", "--from", "t.csv", "--label", "y", "--out", "t.arrow"]


CASES["data-pictures-deep"] = lambda here: photos(here, "ann/cat/2.png")
CASES["data-pictures-loose"] = lambda here: photos(here, "stray.png")
CASES["data-pictures-split"] = lambda here: photos(here, "train/cat/2.png")
CASES["data-pictures-depth"] = lambda here: photos(here, "cat/2.png", "I;16")


@case
def data_pictures_kind(here: Path) -> list[str]:
    arguments = photos(here, "cat/2.png")
    (here / "photos" / "cat" / "1.heic").write_bytes(b"x")
    return arguments


@case
def data_pictures_empty(here: Path) -> list[str]:
    arguments = photos(here, "cat/2.png")
    (here / "photos" / "dog").mkdir()
    return arguments


@case
def data_pictures_frames(here: Path) -> list[str]:
    from PIL import Image

    return photos(here, "cat/2.gif", save_all=True, append_images=[Image.new("RGB", (4, 4), "red")])


CASES["data-table-cell"] = lambda here: table(here, "x,y\n1,a\n12 cm,b\n")
CASES["data-table-comma"] = lambda here: table(here, 'x,y\n"1,5",a\n')
CASES["data-table-delimiter"] = lambda here: table(here, "x;y\n1;a\n")
CASES["data-table-encoding"] = lambda here: table(here, "größe,y\n1,a\n", "cp1252")
CASES["data-table-fractions"] = lambda here: table(here, "x,y\n1,1\n2,0.5\n")
CASES["data-table-huge"] = lambda here: table(here, "x,y\n1,a\n1e300,b\n")
CASES["data-table-nameless"] = lambda here: table(here, "x,,y\n1,5,a\n2,5,b\n")
edited("population-option", "writers=20", "writers=0")
edited(
    "partition-option",
    "synthetic_writers(writers=20, mean_samples=30, sd_samples=5)",
    "partitioned(femnist(), Dirichlet(-1), 10)",
)
edited(
    "partition-starved",
    "synthetic_writers(writers=20, mean_samples=30, sd_samples=5)",
    "partitioned(synthetic_writers(writers=2, mean_samples=30, sd_samples=0), Iid(), 100)",
)
edited(
    "population-by-user",
    "synthetic_writers(writers=20, mean_samples=30, sd_samples=5)",
    "by_user(synthetic_writers(writers=20, mean_samples=30, sd_samples=5), test_share=0.0)",
)
edited(
    "population-by-user-cohort",
    "synthetic_writers(writers=20, mean_samples=30, sd_samples=5)",
    "by_user(synthetic_writers(writers=5, mean_samples=30, sd_samples=5), test_share=0.4)",
)
CASES["population-by-user-published"] = lambda here: scenario(
    here,
    TINY.replace("SplitFedV2()", 'SplitFedV1(as_published="thapa2022")').replace(
        "synthetic_writers(writers=20, mean_samples=30, sd_samples=5)", "by_user(synthetic_writers(writers=20))"
    ),
)
edited("population-roles", "synthetic_writers(writers=20, mean_samples=30, sd_samples=5)", "synthetic_roles(roles=0)")
edited(
    "attack-threshold",
    "    evaluation=Evaluation(clients=5),\n",
    "    evaluation=Evaluation(clients=5),\n    attack=FangKrum(threshold=0.0),\n",
)
edited("population-split", "synthetic_writers(writers=20, mean_samples=30, sd_samples=5)", "emnist('ballanced')")
edited("population-unprepared", "synthetic_writers(writers=20, mean_samples=30, sd_samples=5)", "femnist()")


@case
def population_truncated(here: Path) -> list[str]:
    file = population(here)
    file.write_bytes(file.read_bytes()[:-200])
    return on_file(here)


@case
def population_garbage(here: Path) -> list[str]:
    file = population(here)
    file.write_bytes(b"\x07" * file.stat().st_size)
    return on_file(here)


@case
def population_half(here: Path) -> list[str]:
    population(here)
    (here / "letters.clients.arrow").unlink()
    return on_file(here)


@case
def population_flipped(here: Path) -> list[str]:
    """One wrong pixel, which only a check of the digest finds."""
    file = population(here)
    data = bytearray(file.read_bytes())
    place = data.index(bytes(28 * 28))
    data[place + 100] = 200
    file.write_bytes(bytes(data))
    return ["data", "info", "letters.arrow"]


@case
def population_shape(here: Path) -> list[str]:
    population(here, shape=(3, 32, 32))
    return on_file(here)


@case
def population_numbers(here: Path) -> list[str]:
    pixels, labels = np.zeros((3, 1, 28, 28), dtype=np.float32), np.zeros(3, dtype=np.int64)
    clients = [ClientData(f"w{n}", pixels, labels, pixels[:1], labels[:1]) for n in range(20)]
    write_population(here / "letters.arrow", clients, name="letters", shape=(1, 28, 28), classes=62, dtype="float32")
    return [*on_file(here), "--set", "pixels=inverted"]


@case
def population_classes(here: Path) -> list[str]:
    population(here, classes=100)
    return on_file(here)


@case
def population_misspelt(here: Path) -> list[str]:
    part_of_user = (
        "from raysplit.contracts import PopulationSpec\n\n@part\nclass Mine(PopulationSpec):\n    clients: int = 3\n"
    )
    return scenario(here, TINY.replace("from raysplit import *\n", "from raysplit import *\n" + part_of_user))
