"""Class histograms: the numbers by hand, the labels by every way, the picture for few and many, the command."""

import re
import sys

import numpy as np
import pytest

from raysplit.analysis.report.canvas import DARK, LIGHT, png
from raysplit.analysis.report.histogram import class_histogram
from raysplit.app.cli import main
from raysplit.population.handwriting.synthetic import synthetic_writers
from raysplit.population.partition.dirichlet import Dirichlet
from raysplit.population.partition.histogram import SkewSummary, class_counts
from raysplit.population.partition.partitioned import partitioned
from tests.toys import ToyClients

FILE = """\
from raysplit import *

writers = synthetic_writers(writers=12, mean_samples=30, sd_samples=5)
base = Scenario(
    name="tiny",
    population=partitioned(writers, Dirichlet(0.5), clients=8),
    model=femnist_cnn(cut="V2"),
    protocol=SplitFedV2(),
    cohort=Cohort(size=4),
    training=Training(rounds=3, lr=0.05),
)
scenarios = [*grid(base, population__by={"skewed": Dirichlet(0.5), "even": Iid()}), base.replace(name="again", seed=3)]
"""


def test_the_summary_by_hand():
    counts = np.array([[4, 0], [1, 3], [0, 0]])
    summary = SkewSummary.of(counts)
    assert (summary.clients, summary.samples, summary.size_min, summary.size_max) == (3, 8, 0, 4)
    assert summary.size_mean == pytest.approx(8 / 3) and summary.size_sd == pytest.approx(np.sqrt(32 / 9))
    assert summary.classes == 1.0
    # The whole is (5/8, 3/8): the first client is 3/8 away, the second 3/8.
    assert summary.distance == pytest.approx(3 / 8)
    assert "8 training samples at 3 clients: 2.7 ± 1.9 a client (0 to 4)" in str(summary)
    assert SkewSummary.of(np.tile([2, 6, 2], (5, 1))).distance == 0


def test_labels_without_samples_are_the_labels_of_the_samples():
    writers = synthetic_writers(writers=3, mean_samples=25, sd_samples=4).open()
    for population in (writers, partitioned(ToyClients(9), Dirichlet(0.5), 4).open(), ToyClients(4).open()):
        for which in ("train", "test"):
            counts = class_counts(population, part=which)
            for client in range(population.info.clients):
                y = getattr(population, which)(client).y.numpy()
                assert counts[client].tolist() == np.bincount(y, minlength=population.info.classes).tolist()
    assert (class_counts(writers, np.array([2, 0])) == class_counts(writers)[[2, 0]]).all()


@pytest.mark.parametrize("clients,classes", [(1, 1), (5, 10), (100, 62), (401, 5), (3550, 62)])
def test_the_picture_is_drawn_for_few_and_many_and_equal_counts_give_equal_bytes(clients, classes):
    rng = np.random.default_rng(0)
    counts = rng.multinomial(30, rng.dirichlet(np.full(classes, 0.3), clients))
    for theme in (LIGHT, DARK):
        picture = png(class_histogram(counts, "made up", theme), 40)
        assert picture[:8] == b"\x89PNG\r\n\x1a\n" and picture == png(class_histogram(counts, "made up", theme), 40)


def command(monkeypatch, capfd, *arguments):
    monkeypatch.setattr(sys, "argv", ["raysplit", "data", "histogram", *map(str, arguments)])
    code = 0
    try:
        main()
    except SystemExit as leave:
        code = leave.code or 0
    return (code, *capfd.readouterr())


def test_the_command_draws_each_different_population_once(tmp_path, monkeypatch, capfd):
    (tmp_path / "tiny.py").write_text(FILE)
    code, out, _ = command(monkeypatch, capfd, tmp_path / "tiny.py", "--out", tmp_path / "tiny.png")
    assert code == 0 and sorted(p.name for p in tmp_path.glob("*.png")) == ["tiny-1.png", "tiny-2.png"]
    assert re.findall(r"^(\S+): SYNTHETIC, not real data: synthetic_writers by (\w+)", out, re.M) == [
        ("tiny-skewed", "Dirichlet"),
        ("tiny-even", "Iid"),
    ]
    assert len(re.findall(r"training samples at 8 clients", out)) == 2
    code, out, _ = command(
        monkeypatch, capfd, tmp_path / "tiny.py", "--only", "tiny-even", "--clients", 3, "--out", tmp_path / "one.png"
    )
    assert code == 0 and (tmp_path / "one.png").is_file() and "3 of its 8 clients" in out


@pytest.mark.parametrize(
    "arguments,words",
    [
        (["--out", "picture.jpg"], "--out must name a .png file, but it is 'picture.jpg'"),
        (["--clients", "0"], "--clients must be at least 1, but it is 0"),
        (["--only", "tiny-skew"], "has no scenario 'tiny-skew'; did you mean 'tiny-skewed'?"),
        (["--out", "tiny.py/x.png"], "cannot be written"),
    ],
)
def test_the_command_s_mistakes_are_one_sentence(tmp_path, monkeypatch, capfd, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.py").write_text(FILE)
    code, _, err = command(monkeypatch, capfd, "tiny.py", *arguments)
    assert code == 2 and words in err and err.count("\n") == 1 and "Traceback" not in err
