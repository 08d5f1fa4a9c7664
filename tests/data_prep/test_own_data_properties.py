"""Generated folders of pictures and tables, held against a plain reader of their own: Pillow's, csv's and pandas'.

The readers below share nothing with ``data_prep``: a folder is walked with ``os``, a pixel is blended in floating
point, a table goes through Python's ``csv`` or pandas.
"""

from __future__ import annotations

import csv
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from data_prep import image_folder, table
from raysplit.errors import PopulationError
from raysplit.population.arrow import OpenArrow
from tests.data_prep.archives import opened

QUIET = Console(quiet=True)
BOUNDED = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
SIDE = 4
LITTER = (".DS_Store", "Thumbs.db", "._01.png", "__MACOSX/._01.png", "desktop.ini")


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


# Pictures


def saved(file: Path, kind: str, seed: int, orientation: int) -> None:
    """A lossless picture of random pixels of that kind."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 4), dtype=np.uint8)
    image = Image.fromarray(pixels)
    if kind == "P":
        image = image.convert("RGB").quantize(8)
        image.info["transparency"] = 3
    elif kind != "RGBA":
        image = image.convert(kind)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(
        file,
        **({"exif": exif} if file.suffix in (".png", ".webp") else {}),
        **({"lossless": True} if file.suffix == ".webp" else {}),
    )  # type: ignore[arg-type]


def upright(a: np.ndarray, orientation: int) -> np.ndarray:
    turned = a if orientation < 5 else a.transpose(1, 0, 2)
    flips = {2: (1,), 3: (0, 1), 4: (0,), 6: (1,), 7: (0, 1), 8: (0,)}.get(orientation, ())
    return np.flip(turned, flips)


def plainly(file: Path) -> np.ndarray:
    """The picture as float64 [3, H, W]: every pixel blended over white, then turned."""
    with Image.open(file) as image:
        orientation = image.getexif().get(0x0112, 1) if file.suffix in (".png", ".webp") else 1
        rgba = np.asarray(image.convert("RGBA")).astype(np.float64)
    opacity = rgba[..., 3:] / 255
    return upright(rgba[..., :3] * opacity + 255 * (1 - opacity), orientation).transpose(2, 0, 1)


def walked(root: Path) -> dict[str, list[Path]]:
    """Class name to pictures, by suffix alone, past what begins with a dot or lies in __MACOSX."""
    found: dict[str, list[Path]] = {}
    for where, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name[0] != "." and name != "__MACOSX"]
        for name in files:
            if name[0] != "." and name.lower().endswith((".png", ".webp", ".tiff", ".bmp", ".ppm")):
                found.setdefault(Path(where).name, []).append(Path(where, name))
    return found


NAMES = st.one_of(
    st.lists(st.integers(0, 120).map(str), min_size=1, max_size=4, unique=True),
    st.lists(st.text("abAB01_é ", min_size=1, max_size=4).filter(str.strip), min_size=1, max_size=4, unique=True),
)
PICTURES = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.sampled_from(["RGB/png", "RGBA/png", "LA/png", "L/png", "P/png", "1/png", "RGBA/webp", "RGB/bmp",
                         "CMYK/tiff", "RGBA/tiff", "RGB/ppm", "RGBA/PNG"]),
        st.integers(1, 8),
    ),
    min_size=1,
    max_size=8,
)  # fmt: skip


@BOUNDED
@given(names=NAMES, pictures=PICTURES, litter=st.lists(st.sampled_from(LITTER), max_size=3), notes=st.integers(0, 7))
def test_a_generated_folder_is_what_a_plain_reader_finds(
    names: list[str], pictures: list[tuple[int, str, int]], litter: list[str], notes: int
) -> None:
    with folder() as here:
        root = here / "photos"
        for number, (where, what, orientation) in enumerate(pictures):
            kind, suffix = what.split("/")
            saved(root / names[where % len(names)] / f"{number}.{suffix}", kind, number, orientation)
        some = names[pictures[0][0] % len(names)]
        for name in litter:
            for level in (root, root / some):
                (level / name).parent.mkdir(exist_ok=True)
                (level / name).write_bytes(b"litter")
        for number in range(notes):
            (root / some / f"note{number}.txt").write_text("x")
        summary = image_folder.prepare(here / "p.arrow", source=root, console=QUIET)
        found = walked(root)
        numeric = all(name == str(int(name)) if name.isdecimal() and name.isascii() else False for name in found)
        classes = sorted(found, key=int) if numeric else sorted(found)
        assert summary.classes == len(classes) and f"classes {', '.join(classes)}, numbered from 0" in summary.source
        told = summary.source.count("note") + (notes - 5 if f"and {notes - 5} more" in summary.source else 0)
        assert told == notes, "every other file is named or counted"
        every = [(label, plainly(file)) for label, name in enumerate(classes) for file in found[name]]
        assert_same_pictures(opened(here / "p.arrow"), every)


def assert_same_pictures(population: OpenArrow, expected: list[tuple[int, np.ndarray]]) -> None:
    """Each expected picture is there once, to within the rounding of a blend."""
    parts = [population.train(0), population.test(0)]
    ours = [(int(y), x.numpy()) for part in parts for x, y in zip(part.x, part.y, strict=True)]
    assert len(ours) == len(expected)
    for label, pixels in expected:
        near = [k for k, (y, x) in enumerate(ours) if y == label and np.abs(x - pixels).max() <= 1]
        assert near, f"a picture of class {label} is missing or spoiled"
        ours.pop(near[0])


# Tables

CELLS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False, width=32).map(float),
    st.integers(-(1 << 24), 1 << 24),
    st.sampled_from([0.1, -0.0, 1e-45, 1 / 3]),
)
LABELS = st.one_of(
    st.lists(st.integers(-20, 120), min_size=1, max_size=4),
    st.lists(st.integers(0, 30).map(float), min_size=1, max_size=4),
    st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=4),
)


def rows_of(path: Path) -> Counter[tuple[object, ...]]:
    """(client, class, features ...) of every row of a population, with the class in words."""
    population = opened(path)
    description = population.info.description
    classes = description.split(", classes ")[1].split(" of column ")[0].split(", ")
    return Counter(
        (population.name(k), classes[int(y)], *x.flatten().tolist())
        for k in range(population.info.clients)
        for part in (population.train(k), population.test(k))
        for x, y in zip(part.x, part.y, strict=True)
    )


def in_words(value: object) -> str:
    return str(int(value)) if isinstance(value, int | float) else str(value)


@BOUNDED
@given(
    cells=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=12),
    labels=LABELS,
    owners=st.lists(st.integers(0, 12), min_size=1, max_size=3),
    dialect=st.sampled_from([(",", "."), (";", ","), (";", "."), ("\t", ",")]),
    index=st.booleans(),
)
def test_a_generated_table_is_what_csv_and_pandas_read(
    cells: list[tuple[float, float]],
    labels: list[int] | list[float] | list[str],
    owners: list[int],
    dialect: tuple[str, str],
    index: bool,
) -> None:
    delimiter, decimal = dialect
    frame = pd.DataFrame(cells, columns=["a", "b"])
    frame["y"] = [labels[k % len(labels)] for k in range(len(frame))]
    frame["who"] = [owners[k % len(owners)] for k in range(len(frame))]
    with folder() as here:
        frame.to_csv(here / "t.csv", sep=delimiter, decimal=decimal, index=index)
        frame.to_parquet(here / "t.parquet", index=index)
        options = {"label": "y", "client": "who", "console": QUIET}
        spoken = table.prepare(here / "c.arrow", source=here / "t.csv", delimiter=delimiter, decimal=decimal, **options)  # type: ignore[arg-type]
        binary = table.prepare(here / "p.arrow", source=here / "t.parquet", **options)  # type: ignore[arg-type]
        with open(here / "t.csv", newline="") as text:
            plain = Counter(
                (
                    row["who"],
                    in_words(float(row["y"].replace(decimal, "."))) if not isinstance(labels[0], str) else row["y"],
                    *(float(np.float32(row[name].replace(decimal, "."))) for name in ("a", "b")),
                )
                for row in csv.DictReader(text, delimiter=delimiter)
            )
        again = pd.read_parquet(here / "t.parquet")
        pandas = Counter(
            (str(row.who), in_words(row.y), float(np.float32(row.a)), float(np.float32(row.b)))
            for row in again.itertuples()
        )
        assert rows_of(here / "c.arrow") == plain
        assert rows_of(here / "p.arrow") == pandas == plain
        if not frame["y"].map(type).eq(str).any():
            assert classes(spoken.source) == sorted(classes(spoken.source), key=int)
        assert classes(spoken.source) == classes(binary.source) and spoken.digest == binary.digest


def classes(description: str) -> list[str]:
    return description.split(", classes ")[1].split(" of column ")[0].split(", ")


@BOUNDED
@given(
    rows=st.integers(1, 40),
    bad=st.integers(0, 39),
    value=st.sampled_from(["inf", "-inf", "nan", "1e300", "", "n/a", "12 cm", "1,5", "0x10", "1_0", "١"]),
    column=st.sampled_from(["a", "b"]),
)
def test_one_bad_cell_is_refused_with_its_column_and_row(rows: int, bad: int, value: str, column: str) -> None:
    bad %= rows
    with folder() as here:
        with open(here / "t.csv", "w", newline="", encoding="utf-8") as out:
            writer = csv.writer(out)
            writer.writerow(["a", "b", "y"])
            for k in range(rows):
                cells = {"a": str(k), "b": str(-k), "y": str(k % 2)} | ({column: value} if k == bad else {})
                writer.writerow(cells.values())
        try:
            table.prepare(here / "t.arrow", source=here / "t.csv", label="y", console=QUIET)
        except PopulationError as refused:
            told = str(refused)
            assert f"column {column!r}" in told and f"row {bad + 1}" in told and "\n" not in told
            assert not (here / "t.arrow").exists()
        else:
            raise AssertionError(f"{value!r} was taken")
