"""``raysplit infer``: what it prints, and its sentences."""

from __future__ import annotations

import json

import pytest

from raysplit.app import cli


def main(arguments: list[str]) -> int:
    """The command line in this process; its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["raysplit", *arguments])
        patch.setattr("signal.signal", lambda *_: None)
        patch.setenv("COLUMNS", "200")
        try:
            cli.main()
        except SystemExit as left:
            return int(left.code or 0)
    return 0


SCENARIO = """
from raysplit import Cohort, Evaluation, Scenario, SplitFedV2, Training, femnist_cnn, synthetic_writers

scenario = Scenario(
    name="tiny",
    population=synthetic_writers(writers=4, mean_samples=30, sd_samples=5),
    model=femnist_cnn(cut="V1"),
    protocol=SplitFedV2(),
    cohort=Cohort(size=2),
    training=Training(rounds=1, lr=0.05),
)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("infer")
    (folder / "tiny.py").write_text(SCENARIO)
    assert main(["run", str(folder / "tiny.py"), "--engine", "local", "--out", str(folder / "runs")]) == 0
    return next(path for path in (folder / "runs").iterdir() if path.is_dir())


def test_it_prints_threat_model_and_scores_and_writes_them(run, capsys):
    assert (
        main(["infer", str(run), "--attack", "UnSplit(rounds=1, input_steps=2, model_steps=2)", "--samples", "2"]) == 0
    )
    printed = capsys.readouterr().out
    assert "assumed besides: architecture" in printed and "mean image of the class" in printed
    assert main(["infer", str(run), "--attack", "WhiteBoxInversion(steps=2)", "--party", "main_server", "--party",
                 "client", "--round", "1", "--samples", "3", "--json"]) == 0  # fmt: skip
    record = json.loads(capsys.readouterr().out)
    assert record["adversary"]["parties"] == ["main_server", "client"] and record["round"] == 1
    assert len(list((run / "inference").glob("*/inference.json"))) == 2


def test_a_client_extracts_the_server_portion(run, capsys):
    options = ["--samples", "2", "--queries", "130"]
    assert main(["infer", str(run), "--attack", "ModelExtraction(steps=2)", *options, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["adversary"] == {"parties": ["client"], "assumed": ["server_architecture"]}
    assert record["queries"] == 2 * 61 and "its own samples alone" in {score["of"] for score in record["scores"]}
    assert main(["infer", str(run), "--attack", "ModelExtraction(steps=2)", *options, "--round", "1"]) == 0
    printed = capsys.readouterr().out
    assert "ModelExtraction by client, against round 1 of training: 2 samples" in printed
    assert "reads cut_gradients, smashed; knows by its parties server_queries; assumed besides: server_arch" in printed


def test_updates_and_membership_are_attacked_by_whoever_holds_what_it_takes(run, capsys):
    assert main(["infer", str(run), "--attack", "GradientInversion(steps=2, labels='joint')", "--round", "1",
                 "--samples", "40"]) == 0  # fmt: skip
    printed = capsys.readouterr().out
    assert "GradientInversion by fed_server, against round 1" in printed and "best matching" in printed
    assert "knows by its parties client_weights, training_settings; assumed besides: server_weights" in printed
    assert main(["infer", str(run), "--attack", "LossMembership, CutGradientMembership", "--samples", "6"]) == 0
    printed = capsys.readouterr().out
    assert "CutGradientMembership by main_server" in printed and "3 members and 3 non-members" in printed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--attack", "UnSplitt"], "did you mean 'UnSplit'?"),
        (["--attack", "ImagePrior"], "takes inference attacks"),
        (["--attack", "UnSplit", "--party", "server"], "--party knows no 'server'"),
        (["--attack", "UnSplit", "--knows", "queries"], "needs to know 'architecture'"),
        (["--attack", "WhiteBoxInversion", "--party", "fed_server"], "reads 'smashed'"),
        (["--attack", "UnSplit", "--round", "7"], "no round 7"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(run, arguments, words, capsys):
    assert main(["infer", str(run), *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error and "Traceback" not in error
