"""Preparing Sentiment140 (Go et al. 2009) as LEAF's Sent140: the mood of a tweet, one client a Twitter user.

A tweet becomes numbers of words, or of characters. From LEAF's json, or from the two CSV files as published.
"""

from __future__ import annotations

import csv
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from rich.console import Console

from data_prep.download import Patience
from data_prep.leaf_json import SampleKind, Split, find_leaf_files, read_leaf
from data_prep.official import OfficialFile, obtain
from data_prep.prepared import Summary, write
from data_prep.split import at_least, by_user, check_by, split_client, whole
from raysplit.errors import PopulationError, ScenarioError
from raysplit.models.word_vectors import read_words
from raysplit.population.arrow_writer import ClientData

OFFICIAL = "http://cs.stanford.edu/people/alecmgo"
ARCHIVE = "trainingandtestdata.zip"
TABLES = ("training.1600000.processed.noemoticon.csv", "testdata.manual.2009.06.14.csv")

WORD = re.compile(r"[\w']+|[.,!?;]")
"""What LEAF calls a word."""
WORDS, CHARACTERS = 25, 140
"""A tweet's length: LEAF's 25 words, or as long as a tweet could be."""
PRINTABLE = "".join(chr(code) for code in range(32, 127))
"""Characters 1 to 95; all others are 0, as is what fills a tweet up."""

Encode = Callable[[str], list[int]]


def prepare(
    out: Path,
    *,
    source: Path | None = None,
    mirror: str | None = None,
    words: int = 10_000,
    vectors: Path | None = None,
    characters: bool = False,
    least: int = 2,
    by: str = "sample",
    console: Console | None = None,
    seed: int = 0,
    patience: Patience | None = None,
) -> Summary:
    """Write the tweets of every user to ``out``, print what came out and return it.

    ``source``: a folder with LEAF's json (a split is kept), or with the published CSV files or their archive; without it
    that is downloaded. Samples are float32 [1, 1, 25], numbers of words in lower case: the ``words`` most frequent ones
    of the training sets (ties in the order of texts), or the first ones of the file of word ``vectors``, are 1, 2, …,
    all others and what fills up are 0. ``characters``: uint8 [1, 1, 140], printable ASCII being 1 to 95. ``least``:
    users of fewer tweets are left out. What is not split is split nine to one within each user by a stream of
    ``seed``; ``by="user"`` instead takes a tenth of the users to test on alone. Raises ``PopulationError`` or ``DownloadError``.
    """
    console = console or Console(stderr=True)
    if characters and vectors is not None:
        raise PopulationError("--characters makes numbers of characters, which have no --vectors; leave one out")
    if not 1 <= words < 1 << 24:
        raise PopulationError(f"--words must be at least 1 and below {1 << 24:,}, but it is {words}")
    archive = OfficialFile(ARCHIVE, f"{OFFICIAL}/{ARCHIVE}", starts_with=b"PK")
    folder = obtain("sent140", [archive], out, source=source, mirror=mirror, patience=patience, console=console)
    users, origin = _users(folder, by, seed)
    kept = at_least(least, users)
    tweets = list(by_user(kept, seed=seed) if by == "user" else kept)
    if characters:
        encode, length, dtype = partial(_characters, {c: n for n, c in enumerate(PRINTABLE, 1)}), CHARACTERS, "uint8"
        read = "numbers of characters, 96 tokens"
    else:
        known = _vocabulary(tweets, words, vectors)
        encode, length, dtype = partial(_words, {word: n for n, word in enumerate(known, 1)}), WORDS, "float32"
        most = f"the first of {vectors.name!r}" if vectors is not None else "the most frequent in training"
        read = f"numbers of the {len(known):,} words that are {most}, {len(known) + 1:,} tokens"
    return write(
        out,
        (_encoded(client, encode, length, dtype) for client in tweets),
        name="sent140",
        shape=(1, 1, length),
        classes=2,
        dtype=dtype,
        description=f"Sent140, one client a Twitter user, classes negative, positive; {origin}; {read}; users of {least} "
        "tweets or more",
        unseen=True,
        console=console,
    )


def _users(folder: Path, by: str, seed: int) -> tuple[Iterator[ClientData], str]:
    """Users whose ``x`` are texts, and where they come from, in words."""
    files = find_leaf_files(folder)
    check_by(by, files is not None and files.split)
    split: Split = partial(split_client, seed=seed) if by == "sample" else whole
    in_words = f"split {'nine to one' if by == 'sample' else 'by user'} with seed {seed}"
    if files is not None:
        origin = "LEAF json in LEAF's split" if files.split else f"LEAF json {in_words}"
        return read_leaf(files, SampleKind("tweets", _read), split), origin
    if (folder / ARCHIVE).is_file() or (folder / TABLES[0]).is_file():
        return (split(*user) for user in _read_tables(folder)), f"the published CSV files {in_words}"
    raise PopulationError(
        f"{str(folder)!r} holds neither LEAF's json (train/ and test/, all_data/, or *.json) nor {ARCHIVE} nor {TABLES[0]}"
    )


def _read(where: str, x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Texts [n] and labels int64 [n]. LEAF's rows are (id, date, query, user, text)."""
    if not isinstance(x, list) or not isinstance(y, list):
        raise PopulationError(f"{where} has samples that are not a list")
    for place, row in enumerate(x):
        if not isinstance(row, list) or len(row) < 5 or not isinstance(row[4], str):
            raise PopulationError(f"{where} has no text in tweet {place}, whose fifth item must be one")
    for place, label in enumerate(y):
        if label not in (0, 1, "0", "1") or isinstance(label, bool):
            raise PopulationError(f"{where} has the label {label!r} at sample {place}, not 0 or 1")
    return _texts([row[4] for row in x]), np.asarray([int(label) for label in y], dtype=np.int64)


def _read_tables(folder: Path) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Users in the order of their names, with their texts and labels, in the order of the files (training, then test).

    A row is (polarity, id, date, query, user, text); polarity 4 is positive, all others are LEAF's class 0.
    """
    users: dict[str, tuple[list[str], list[int]]] = {}
    for name in TABLES:
        with _table(folder, name) as lines:
            if lines is None:
                continue
            try:
                for number, row in enumerate(csv.reader(line.decode("latin-1") for line in lines), 1):
                    if len(row) != 6 or row[0] not in ("0", "2", "4"):
                        raise PopulationError(
                            f"{str(folder)!r}: row {number} of {name} is not a polarity 0, 2 or 4, an id, a date, a query, a "
                            "user and a text"
                        )
                    texts, labels = users.setdefault(row[4], ([], []))
                    texts.append(row[5])
                    labels.append(int(row[0] == "4"))
            except (csv.Error, OSError, EOFError, zipfile.BadZipFile) as error:
                reason = " ".join(str(error).split())[:160].rstrip(".")
                raise PopulationError(f"{str(folder)!r}: {name} cannot be read ({reason}); copy it again") from error
    for user in sorted(users):
        texts, labels = users[user]
        yield user, _texts(texts), np.asarray(labels, dtype=np.int64)


@contextmanager
def _table(folder: Path, name: str) -> Iterator[IO[bytes] | None]:
    """One of the CSV files, unpacked or in its archive; None where only the test table is lacking."""
    if (folder / name).is_file():
        with open(folder / name, "rb") as lines:
            yield lines
        return
    if not (folder / ARCHIVE).is_file():
        yield None
        return
    try:
        with zipfile.ZipFile(folder / ARCHIVE) as packed, packed.open(name) as lines:
            yield lines
    except (zipfile.BadZipFile, KeyError) as error:
        raise PopulationError(f"{str(folder / ARCHIVE)!r} holds no readable {name}; download it again") from error


def _texts(texts: list[str]) -> np.ndarray:
    made = np.empty(len(texts), dtype=object)
    made[:] = texts
    return made


def _vocabulary(users: list[ClientData], words: int, vectors: Path | None) -> list[str]:
    if vectors is not None:
        try:
            return read_words(vectors, words)
        except ScenarioError as error:
            raise PopulationError(f"--vectors: {error}") from error
    counts = Counter(word for user in users for text in user.train_x for word in WORD.findall(text.lower()))
    return [word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:words]]


def _words(numbers: dict[str, int], text: str) -> list[int]:
    return [numbers.get(word, 0) for word in WORD.findall(text.lower())]


def _characters(numbers: dict[str, int], text: str) -> list[int]:
    return [numbers.get(character, 0) for character in text]


def _encoded(client: ClientData, encode: Encode, length: int, dtype: str) -> ClientData:
    def tokens(texts: np.ndarray) -> np.ndarray:
        made = np.zeros((len(texts), 1, 1, length), dtype=dtype)
        for row, text in zip(made, texts, strict=True):
            some = encode(text)[:length]
            row[0, 0, : len(some)] = some
        return made

    return client._replace(train_x=tokens(client.train_x), test_x=tokens(client.test_x))
