"""``raysplit data prepare`` and ``info`` by name, and the sentences that lead there."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

import raysplit
from data_prep.catalogue import OPTIONS
from raysplit.app.cli import main
from raysplit.errors import PopulationError
from raysplit.parts.canonical import to_json
from raysplit.population.arrow import ArrowFile
from tests.data_prep import (
    test_att_faces,
    test_cifar10,
    test_emnist,
    test_ham10000,
    test_idx_sets,
    test_image_folder,
)
from tests.data_prep import test_tudataset as tu

Spec = Callable[[], ArrowFile]


def graphs(folder: Path) -> Path:
    return tu.lay(folder, {name.replace("X", "MUTAG", 1): text for name, text in tu.small().items()})


def rows(folder: Path) -> Path:
    folder.mkdir()
    pd.DataFrame({"x": range(20), "y": [0, 1] * 10}).to_csv(folder / "t.csv", index=False)
    return folder / "t.csv"


# How a scenario names it, how to lay it out, and what its samples are.
CASES: dict[str, tuple[Spec, Callable[[Path], Path], tuple[int, ...]]] = {
    "mnist": (raysplit.mnist, lambda f: test_idx_sets.lay(f, test_idx_sets.contents()), (1, 28, 28)),
    "fashion_mnist": (raysplit.fashion_mnist, lambda f: test_idx_sets.lay(f, test_idx_sets.contents()), (1, 28, 28)),
    "emnist": (
        lambda: raysplit.emnist("letters"),
        lambda f: test_emnist.lay(f, test_emnist.contents("letters")),
        (1, 28, 28),
    ),
    "cifar10": (raysplit.cifar10, lambda f: test_cifar10.lay(f, "binary", packed=True), (3, 32, 32)),
    "ham10000": (raysplit.ham10000, lambda f: test_ham10000.lay(f, test_ham10000.made(20)), (3, 64, 64)),
    "ham10000-16": (lambda: raysplit.ham10000(16), lambda f: test_ham10000.lay(f, test_ham10000.made(20)), (3, 16, 16)),
    "tudataset": (lambda: raysplit.tudataset("MUTAG"), graphs, (1, 9, 3)),
    "att_faces": (raysplit.att_faces, lambda f: test_att_faces.lay(f, test_att_faces.faces()), (1, 112, 92)),
    "att_faces-pool": (
        lambda: raysplit.att_faces(pool=True),
        lambda f: test_att_faces.lay(f, test_att_faces.faces()),
        (1, 112, 92),
    ),
    "image_folder": (
        lambda: raysplit.image_folder("mine.arrow"),
        lambda f: test_image_folder.fill(f, {"a": 5, "b": 6}),
        (3, 5, 6),
    ),
    "table": (lambda: raysplit.table("mine.arrow"), rows, (1, 1, 1)),
}


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["raysplit", *arguments])
    try:
        main()
    except SystemExit as leave:
        return int(leave.code or 0)
    return 0


@pytest.mark.parametrize("case", CASES)
def test_the_sentence_of_an_unprepared_set_is_the_command_that_prepares_it(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAYSPLIT_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    spec, lay, shape = CASES[case]
    with pytest.raises(PopulationError) as caught:
        spec().open()
    told = re.search(r"run `raysplit (data prepare [^`]+)` first", str(caught.value))
    assert told is not None, caught.value
    source = lay(tmp_path / "given")
    words = shlex.split(told[1].replace("FOLDER", str(source)).replace("FILE", str(source)).replace("COLUMN", "y"))
    words += [] if "--from" in words else ["--from", str(source)]
    assert command(monkeypatch, *words) == 0, capfd.readouterr().err
    population = spec().open()
    assert population.info.shape == shape
    assert population.train(0).x.dtype == (torch.float32 if case == "table" else torch.uint8)
    prepared = capfd.readouterr().out
    assert command(monkeypatch, "data", "info", str(spec().file())) == 0
    told_later = capfd.readouterr().out
    assert told_later == prepared and population.info.digest in prepared
    for what in ("clients", "samples", "classes", "a sample", "by class"):
        assert f"  {what}" in prepared
    to_json(spec())


def test_every_set_is_in_the_help_and_a_function_of_its_name(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert command(monkeypatch, "data", "prepare", "--help") == 0
    told = capfd.readouterr().out
    for name in OPTIONS:
        assert name in told and callable(getattr(raysplit, name))
        for option in OPTIONS[name]:
            assert f"--{option.replace('features', 'feature').replace('_', '-')}" in told


def test_info_takes_the_name_under_which_a_set_was_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAYSPLIT_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    for case in ("mnist", "ham10000-16", "tudataset"):
        spec, lay, _ = CASES[case]
        told = re.search(r"run `raysplit (data prepare [^`]+)` first", spec().if_missing)
        assert told is not None
        source = lay(tmp_path / case)
        assert command(monkeypatch, *shlex.split(told[1]), "--from", str(source)) == 0
        prepared = capfd.readouterr().out
        assert command(monkeypatch, "data", "info", spec().file().stem) == 0
        assert capfd.readouterr().out == prepared
    (tmp_path / "mnist.arrow").write_bytes(b"another")
    assert command(monkeypatch, "data", "info", "mnist") == 0, "a name is one of the data directory"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("femnist", "there is no population file '.*femnist.arrow': run `raysplit data prepare femnist` first"),
        ("ham10000", "ham10000-64.arrow': run `raysplit data prepare ham10000` first"),
        ("femnits", "no file 'femnits', and nothing was prepared under that name; did you mean 'femnist'?"),
        ("tudataset", "nothing was prepared under that name; prepared are tudataset-MUTAG"),
        ("tudataset-MUTA", "did you mean 'tudataset-MUTAG'?"),
        ("digits", "come with scikit-learn"),
        ("mnist.arrow", "there is no population file 'mnist.arrow'"),
        ("here/mnist", "there is no population file 'here/mnist'"),
        (".", "there is no population file"),
    ],
)
def test_info_about_what_was_not_prepared_is_one_sentence(
    name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAYSPLIT_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tudataset-MUTAG.arrow").write_bytes(b"x")
    assert command(monkeypatch, "data", "info", name) == 2
    told = capfd.readouterr().err
    assert re.search(words, told) and told.count("\n") == 1 and told.startswith("raysplit: ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["mnits"], "there is no data set 'mnits' to prepare; did you mean 'mnist'?"),
        (["mnist", "--size", "64"], "--size is no option of mnist; its options are none of its own"),
        (["ham10000", "--pool"], "--pool is no option of ham10000; its options are --size, --seed"),
        (["table", "--by-client"], "--by-client is no option of table"),
        (["mnist", "--feature", "x"], "--feature is no option of mnist"),
        (["tudataset"], "tudataset needs --name: such as MUTAG"),
        (["emnist"], "emnist needs --split: one of byclass, bymerge, balanced, letters, digits, mnist"),
        (["emnist", "--split", "leters"], "emnist: there is no split 'leters'; did you mean 'letters'?"),
        (["mnist", "--split", "digits"], "--split is no option of mnist"),
        (["table", "--from", "t.csv", "--out", "t.arrow"], "table needs --label"),
        (["table", "--label", "y", "--out", "t.arrow"], "it needs --from"),
        (["image_folder", "--from", "."], "it needs --out"),
        (["image_folder", "--from", ".", "--mirror", "http://x"], "data of your own; leave it out"),
        (["mnist", "--from", "nowhere"], "there is no folder 'nowhere'"),
        (["mnist", "--from", ".", "--mirror", "http://x"], "--mirror says where to download from"),
        (["digits"], "need no preparing"),
        (["table", "--label", "y", "--from", "t.csv", "--out", "t.arrow"], "there is no table 't.csv'"),
    ],
)
def test_a_wrong_command_is_one_sentence_and_leaves_nothing(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAYSPLIT_DATA", str(tmp_path / "data"))
    assert command(monkeypatch, "data", "prepare", *arguments) == 2
    told = capfd.readouterr().err
    assert words in told and told.count("\n") == 1 and told.startswith("raysplit: ")
    assert not list(tmp_path.iterdir())


def test_names_that_no_set_has_are_refused_when_the_scenario_is_built() -> None:
    for wrong in ("../MUTAG", "", "a b", 3):
        with pytest.raises(PopulationError, match="must be that of a TUDataset"):
            raysplit.tudataset(wrong)
    with pytest.raises(PopulationError, match="did you mean 'balanced'"):
        raysplit.emnist("ballanced")  # type: ignore[arg-type]
    for wrong in (0, 64.0, "64"):
        with pytest.raises(PopulationError, match="size must be a whole number"):
            raysplit.ham10000(wrong)


def test_a_path_of_ones_own_is_taken(tmp_path: Path) -> None:
    for spec in (
        raysplit.mnist(path="m.arrow"),
        raysplit.fashion_mnist(path="m.arrow"),
        raysplit.emnist("digits", path="m.arrow"),
        raysplit.cifar10(path="m.arrow"),
        raysplit.ham10000(path="m.arrow"),
        raysplit.tudataset("MUTAG", path="m.arrow"),
        raysplit.att_faces(path="m.arrow"),
    ):
        assert spec.file() == Path("m.arrow")
