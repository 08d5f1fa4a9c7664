"""docs/how-to/defense.md: its rule is recorded by its own scenario and developed on what was recorded."""

import re
import sys
from pathlib import Path

import pytest
import torch

from raysplit.analysis.runs.run import open_run
from raysplit.app.running.engine_choice import EngineChoice
from raysplit.app.running.runner import Watch, jobs_from, run

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "how-to" / "defense.md").read_text(encoding="utf-8")


def block(language):
    [found] = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.M | re.S)
    return found


def test_the_offline_example_runs_on_what_the_scenario_recorded(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("norm_bound.py").write_text(block("python"), encoding="utf-8")
    for job in jobs_from(Path("norm_bound.py"), Path("runs"), []):
        folder = run(job, EngineChoice(engine="local"), Watch()).folder.path
    names = {}
    try:
        exec(compile(block("py"), "offline.py", "exec"), names)
    finally:
        sys.modules.pop("norm_bound", None)
    opened = open_run(folder)
    row = opened.aggregation.to_pylist()[1]
    ran = names["matrix"].pair("SignFlip", "NormBound(1.0)")
    assert (ran.bias, ran.relative_bias, ran.cosine) == (row["bias"], row["relative_bias"], row["cosine"])
    benign = names["there"].updates[~names["there"].malicious].mean(0)
    assert float(torch.linalg.vector_norm(names["again"].update - benign)) == pytest.approx(row["bias"], rel=1e-4)
    assert len(capsys.readouterr().out.splitlines()) == 3 * 4
