"""``raysplit audit``: what it prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.app.test_infer_command import main

SCENARIO = """
from raysplit import *

scenario = Scenario(
    name="tiny",
    population=synthetic_writers(writers=4, mean_samples=12, sd_samples=1),
    model=femnist_cnn(cut="V1"),
    protocol=SplitFedV1(),
    cohort=Cohort(size=4),
    training=Training(rounds=2, lr=0.05, batch_size=16),
    privacy=PerExampleClipping(1.0, 2.0),
)
"""


def test_it_prints_the_bounds_beside_the_claim(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tiny.py").write_text(SCENARIO)
    command = ["audit", str(tmp_path / "tiny.py"), "--rounds", "1", "--out", str(tmp_path)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "ε claimed at most" in printed and "δ 1e-05, for one sample" in printed
    assert main([*command, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["rounds"] == 1 and record["canaries"] == 64 and not record["refuted"]
    assert record["sees"] == ["server_updates", "updates"]
