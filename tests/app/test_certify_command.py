"""``raysplit certify``: what it prints and writes."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from tests.app.test_infer_command import main

SCENARIO = """
from raysplit import *

scenario = Scenario(
    name="noisy",
    population=synthetic_writers(writers=4, mean_samples=30, sd_samples=5),
    model=PixelDp(femnist_cnn(cut="V1"), epsilon=1.0, after="conv1.0", bound=0.2, draws=2),
    protocol=SplitFedV2(),
    cohort=Cohort(size=2),
    training=Training(rounds=1, lr=0.05),
)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certify")
    (folder / "noisy.py").write_text(SCENARIO)
    assert main(["run", str(folder / "noisy.py"), "--engine", "local", "--out", str(folder / "runs")]) == 0
    return next(path for path in (folder / "runs").iterdir() if path.is_dir())


def test_it_says_what_the_epsilon_is_about_and_writes_a_row_a_sample(run, capsys):
    assert main(["certify", str(run), "--samples", "6", "--draws", "40", "--attack", "2", "--attack-draws", "2"]) == 0
    printed = capsys.readouterr().out
    assert "says nothing about training samples and does not add up with DP-SGD's epsilon" in printed
    assert "‖α‖_2 ≤ 0.2" in printed and "none: accuracy" in printed and "changed their prediction" in printed
    [folder] = (run / "certification").iterdir()
    table = pa.ipc.open_file(folder / "certification.arrow").read_all()
    assert table.num_rows == 6 and set(table["pixeldp_epsilon"].to_pylist()) == {1.0}
    assert all(field.metadata[b"description"] for field in table.schema)


def test_the_report_says_what_the_epsilon_is_about(run):
    [report] = run.parent.glob("report-*.html")
    text = report.read_text()
    assert "PixelDP ε" in text and "says nothing about training samples" in text


def test_other_radii_scores_and_norms_are_asked_for(run, capsys):
    arguments = [
        "--samples",
        "3",
        "--draws",
        "20",
        "--scores",
        "softmax",
        "--norm",
        "inf",
        "--radius",
        "0.01",
        "--json",
    ]
    assert main(["certify", str(run), *arguments]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["radius_norm"] == "inf" and [row["radius"] for row in record["certified"]] == [0.0, 0.01]
    assert record["setup"]["scored_by"] == "softmax" and record["flipped"] == record["attacked"] == 0
    assert record["pixeldp_epsilon_is_about"].startswith("a prediction")
