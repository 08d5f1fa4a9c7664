"""The data sets that ``raysplit data prepare`` knows, with the options that each of them takes."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from raysplit.errors import PopulationError, nearest
from raysplit.population.arrow import ArrowFile, data_directory
from raysplit.population.sets.att_faces import att_faces
from raysplit.population.sets.cifar10 import cifar10
from raysplit.population.sets.emnist import SPLITS, emnist
from raysplit.population.sets.fashion_mnist import fashion_mnist
from raysplit.population.sets.femnist import femnist
from raysplit.population.sets.ham10000 import ham10000
from raysplit.population.sets.mnist import mnist
from raysplit.population.sets.sent140 import sent140
from raysplit.population.sets.shakespeare import shakespeare
from raysplit.population.sets.tudataset import tudataset

OPTIONS: dict[str, tuple[str, ...]] = {
    "femnist": ("seed",),
    "mnist": (),
    "fashion_mnist": (),
    "emnist": ("split",),
    "cifar10": (),
    "ham10000": ("size", "seed"),
    "tudataset": ("name", "seed"),
    "att_faces": ("pool", "seed"),
    "shakespeare": ("by", "least", "seed"),
    "sent140": ("words", "vectors", "characters", "by", "least", "seed"),
    "image_folder": ("by_client", "label", "client", "pool", "size", "grey", "seed"),
    "table": (
        "label",
        "client",
        "features",
        "standardise",
        "pool",
        "delimiter",
        "decimal",
        "encoding",
        "seed",
    ),
}
"""Each is a module of ``data_prep`` with a function ``prepare``."""

OWN_DATA = ("image_folder", "table")
NEEDED = {
    "emnist": ("split", f"one of {', '.join(SPLITS)}"),
    "tudataset": ("name", "such as MUTAG"),
    "table": ("label", "the column of classes"),
}
_PLAIN = ("femnist", "mnist", "fashion_mnist", "cifar10", "ham10000", "att_faces", "shakespeare", "sent140")
"""Sets that have one file under their own name, or a usual one."""
FLAGS = {"features": "feature"}


def prepare(
    name: str,
    source: Path | None,
    out: Path | None,
    mirror: str | None,
    console: Console,
    options: Mapping[str, Any] | None = None,
) -> None:
    """Prepare a data set by name; ``options`` are those that were given. Raises ``PopulationError`` for wrong ones."""
    given = dict(options or {})
    if name == "digits":
        raise PopulationError("digits() come with scikit-learn and need no preparing; name them in a scenario")
    if name not in OPTIONS:
        raise PopulationError(f"there is no data set {name!r} to prepare; {nearest(name, OPTIONS)}")
    for option in given:
        if option not in OPTIONS[name]:
            takes = ", ".join(map(_flag, OPTIONS[name])) or "none of its own"
            raise PopulationError(f"{_flag(option)} is no option of {name}; its options are {takes}")
    if name in NEEDED and NEEDED[name][0] not in given:
        option, words = NEEDED[name]
        raise PopulationError(f"{name} needs {_flag(option)}: {words}")
    if name in OWN_DATA:
        if mirror is not None:
            raise PopulationError(f"--mirror says where to download from, but {name} is data of your own; leave it out")
        if source is None or out is None:
            lacking = "--from, where the data are" if source is None else "--out, the file to write, such as mine.arrow"
            raise PopulationError(f"{name} is data of your own: it needs {lacking}")
    else:
        given["mirror"] = mirror
    target = out if out is not None else _where(name, given).file()
    importlib.import_module(f"data_prep.{name}").prepare(target, source=source, console=console, **given)


def find(named: Path) -> Path:
    """The population file that ``named`` is, or that was prepared under that name (``femnist``, ``ham10000-64``).

    Raises ``PopulationError`` for a name under which nothing was prepared, saying how, or what there is.
    """
    name = str(named)
    if named.is_file() or named.suffix == ".arrow" or len(named.parts) != 1:
        return named
    prepared = sorted(file.stem for file in data_directory().glob("*.arrow") if not file.stem.endswith(".clients"))
    if name in prepared:
        return data_directory() / f"{name}.arrow"
    if name == "digits":
        raise PopulationError("digits() come with scikit-learn, so there is no file of them to look into")
    if name in _PLAIN:
        _where(name, {}).open()  # not there, and its sentence says which command prepares it
        return _where(name, {}).file()
    there = ", ".join(prepared) or "none"
    hint = nearest(name, [*prepared, *_PLAIN]) if name not in OPTIONS else f"prepared are {there}"
    raise PopulationError(f"there is no file {name!r}, and nothing was prepared under that name; {hint}")


def _where(name: str, given: Mapping[str, Any]) -> ArrowFile:
    """Where the scenario's part of that name looks for the data."""
    if name == "ham10000":
        return ham10000(given.get("size", 64))
    if name == "emnist":
        return emnist(given["split"])
    if name == "tudataset":
        return tudataset(given["name"])
    if name == "att_faces":
        return att_faces(pool=given.get("pool", False))
    if name == "sent140":
        return sent140(characters=given.get("characters", False))
    plain = {"femnist": femnist, "mnist": mnist, "fashion_mnist": fashion_mnist, "cifar10": cifar10}
    return {**plain, "shakespeare": shakespeare}[name]()


def _flag(option: str) -> str:
    return "--" + FLAGS.get(option, option).replace("_", "-")
