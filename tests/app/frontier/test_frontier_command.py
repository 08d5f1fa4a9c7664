"""``raysplit frontier`` through the command line: its numbers are the runs' own, and nothing is done twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from raysplit import QueryDecoder, infer, open_run
from raysplit.analysis.report import frontier_page
from raysplit.attacks.inference.decoders import DecoderTraining
from tests.analysis.report.test_page import read
from tests.app.test_infer_command import main

DECODER = "QueryDecoder(queries=12, training=DecoderTraining(epochs=1))"
FILE = f'''
from raysplit import *
from raysplit.contracts import Channel, InferenceAttack
from tests.toys import ToyClients, ToyCnn


@part
class Broken(InferenceAttack):
    """Works at V1 alone."""

    goal: str = "inputs"

    @property
    def reads(self):
        return frozenset({{Channel.SMASHED}})

    def infer(self, observed, knowledge):
        if observed.on(Channel.SMASHED).shape[1] != 3:
            raise RuntimeError("lost its way")
        from raysplit.contracts import Reconstruction
        import torch

        return Reconstruction(inputs=torch.zeros(len(observed.on(Channel.SMASHED)), *knowledge.input_shape))


frontier = Frontier(
    base=Scenario(
        name="tiny",
        population=ToyClients(6),
        model=ToyCnn(),
        protocol=SplitFedV2(),
        cohort=Cohort(size=4, malicious=0.75, of="cohort"),
        training=Training(rounds=3, lr=0.2, batch_size=4),
        evaluation=Evaluation(every=3, clients=None),
    ),
    cuts=["V1", "V3"],
    defenses={{"none": None, "few bits": Quantisation(2), "tail": {{"protocol": SplitFedV2(u_shaped=True), "model.tail": "fc1"}}}},
    attacks={{"decoder": {DECODER}, "broken": Broken()}},
    poison=Scheduled(WireLabelFlip(), start_round=3, on=1),
    samples=3,
    auxiliary=8,
)
'''
HOLE, UNPOISONED = ("V3", "tail"), ("V1", "tail")
"""Where there is no tail, and where no labels travel that could be flipped"""


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("frontier")
    (folder / "tiny.py").write_text(FILE)
    assert call(folder) == 3  # the broken attack
    return folder


def call(here: Path, *options: str) -> int:
    return main(["frontier", str(here / "tiny.py"), "--engine", "local", "--out", str(here / "runs"), *options])


def rows(here: Path, name: str = "frontier-tiny") -> dict[tuple[str, str], dict[str, Any]]:
    with pa.ipc.open_file(here / "runs" / name / "frontier.arrow") as file:
        return {(row["cut"], row["defense"]): row for row in file.read_all().to_pylist()}


def test_the_numbers_are_the_runs_own(here: Path) -> None:
    found = rows(here)
    assert len(found) == 6
    for place, row in found.items():
        if place in (HOLE, UNPOISONED):
            continue
        clean, poisoned = (open_run(here / "runs" / row[name]) for name in ("folder", "poisoned_folder"))
        assert (clean.scenario["model"]["cut"], clean.state.digest) == (row["cut"], row["digest"])
        accuracy = clean.evaluations.column("accuracy")[-1].as_py()
        assert row["accuracy"] == accuracy
        assert row["drop"] == accuracy - poisoned.evaluations.column("accuracy")[-1].as_py()
        assert row["bytes"] == sum(clean.channels.column("bytes").to_pylist()) / 3
        smashed = [one["bytes"] for one in clean.channels.to_pylist() if one["channel"] == "smashed"]
        assert row["bytes_smashed"] == sum(smashed) / 3
        assert poisoned.state.record["forked_from"] == row["folder"] and poisoned.state.record["forked_rounds"] == 2
    assert any(row["drop"] for row in found.values())
    assert found["V1", "few bits"]["bytes_smashed"] < found["V1", "none"]["bytes_smashed"]


def test_leakage_is_what_raysplit_infer_finds_on_the_clean_run(here: Path) -> None:
    row = rows(here)["V3", "none"]
    attack = QueryDecoder(queries=12, training=DecoderTraining(epochs=1))
    scores = infer(open_run(here / "runs" / row["folder"]), attack, samples=3, auxiliary=8).scores
    values = {(score.of, score.metric): score.value for score in scores}
    assert row["ssim"] == values["QueryDecoder", "SSIM"]
    assert row["error"] == values["QueryDecoder", "MSE"] / values["mean image", "MSE"]
    guesses = [value for (of, metric), value in values.items() if metric == "SSIM" and of != "QueryDecoder"]
    assert row["guess_ssim"] == max(guesses)
    assert row["strongest"] == "ssim: decoder; identified: decoder; error: decoder"


def test_a_hole_and_an_attack_that_failed_say_why_and_the_rest_is_there(here: Path) -> None:
    found = rows(here)
    hole, broken = found[HOLE], found["V3", "none"]
    assert (hole["status"], hole["accuracy"], hole["on_front"]) == ("refused", None, False)
    assert "tail" in hole["why"]
    assert found[UNPOISONED]["drop"] is None and found[UNPOISONED]["accuracy"] is not None
    assert found[UNPOISONED]["why"].startswith("poisoned: WireLabelFlip ")
    assert broken["why"].startswith("broken: RuntimeError: lost its way (traceback: ") and broken["ssim"] is not None
    assert found["V1", "none"]["why"] is None and any(row["on_front"] for row in found.values())
    page = here / "runs" / "frontier-tiny" / "report.html"
    text = " ".join(read(page.read_text()).text)
    assert "Holes." in text and "V3, tail" in text and "lost its way" in text
    scores = (here / "runs" / "frontier-tiny" / "leakage.csv").read_text()
    assert "V1,none,broken,Broken,SSIM," in scores and "V1,none,decoder,mean image,MSE," in scores


def test_again_it_trains_and_infers_nothing_and_writes_the_same(here: Path) -> None:
    folder = here / "runs" / "frontier-tiny"
    kept = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    done = [*(here / "runs").glob("*/run.json"), *(here / "runs").glob("*/inference/*/inference.json")]
    stamps = {path: path.stat().st_mtime_ns for path in done}
    assert len(stamps) == 9 + 5 + 3  # runs; the decoder everywhere, the broken attack at V1
    assert call(here) == 3  # only the broken attack is tried again
    assert stamps == {path: path.stat().st_mtime_ns for path in done}
    assert kept == {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_the_front_is_over_what_is_asked_for_and_only_chooses_points(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frontier_page, "picture", lambda *_: "")  # seconds, and drawn elsewhere
    assert call(here, "--only", "*-V1-*", "--front", "bytes", "--x", "bytes", "--report-only") == 0
    (name,) = (path.name for path in (here / "runs").glob("frontier-tiny-only-*"))
    found = rows(here, name)
    assert {cut for cut, _ in found} == {"V1"} and len(found) == 3
    cheapest = min(row["bytes"] for row in found.values())
    assert [row["on_front"] for row in found.values()] == [row["bytes"] == cheapest for row in found.values()]
    assert "on the Pareto front of bytes (less is better)" in capsys.readouterr().out


def test_a_run_of_a_frontier_is_found_in_the_file_that_it_kept(here: Path) -> None:
    run = open_run(here / "runs" / rows(here)["V1", "few bits"]["folder"])
    assert json.loads((run.path / "origin.json").read_text())["scenario"] == "tiny-V1-few_bits"
    assert run.trained().scenario.name == "tiny-V1-few_bits"
