"""The python blocks of docs/costs.md: the first is arithmetic, the second a scenario with imagined machines."""

import re
from pathlib import Path

from raysplit.analysis.report import write_report
from raysplit.analysis.runs.run import open_run
from raysplit.app.running.engine_choice import EngineChoice
from raysplit.app.running.runner import Watch, jobs_from, run

PAGE = Path(__file__).resolve().parents[2] / "docs" / "costs.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)


def test_the_formulas_say_what_the_page_says():
    exec(compile(BLOCKS[0], str(PAGE), "exec"), {})


def test_the_scenario_runs_and_tells_who_was_left_out(tmp_path):
    file = tmp_path / "costs.py"
    file.write_text(BLOCKS[1], encoding="utf-8")
    [job] = jobs_from(file, tmp_path / "runs", [])
    opened = open_run(run(job, EngineChoice(engine="local"), Watch()).folder.path)
    assert opened.state.status == "finished"
    assert all(seconds > 0 for seconds in opened.rounds.column("virtual_s").to_pylist())
    left_out = [row["left_out"] for row in opened.times.to_pylist()]
    assert (left_out.count("Drop"), left_out.count(None)) == (2 * 2, 2 * 8)
    assert opened.rounds.column("clients").to_pylist() == [8, 8]
    page = write_report([opened], tmp_path / "report.html").read_text(encoding="utf-8")
    assert "on the scenario&#x27;s devices, median" in page and page.count("Virtual time") == 2
    (opened.path / "metrics" / "times.arrow").unlink()
    assert open_run(opened.path).times.num_rows == 0, "runs from before there was virtual time can still be read"


def test_there_are_two_blocks():
    assert len(BLOCKS) == 2
