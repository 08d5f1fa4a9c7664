"""Every python block of docs/clients.md is a whole scenario file; each is run as a user would run it."""

import re
from pathlib import Path

import pytest

import raysplit
from raysplit.app.running.engine_choice import EngineChoice
from tests.docs.test_how_to import play

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "clients.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_example_runs_to_its_end(tmp_path, number):
    runs = play(tmp_path, f"clients-{number}", BLOCKS[number], EngineChoice(engine="local"))
    assert [run.state.status for run in runs] == ["finished"] * [8, 7][number]


def test_every_partitioner_and_draw_of_the_tables_is_in_an_example():
    for table, block in zip(re.findall(r"(?:^\|.*\|\n)+", PAGE, re.MULTILINE), BLOCKS, strict=True):
        for name in re.findall(r"^\| `(\w+)\(", table, re.MULTILINE):
            assert f"{name}(" in block and name in raysplit.__all__, name
