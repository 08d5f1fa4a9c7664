"""``raysplit doctor`` over a file of many scenarios, and the line that says where a run is played."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.console import Console

import raysplit.app.commands.doctor as doctor
from raysplit import FedAvg, SplitFedV2
from raysplit.app.running.live import _where
from raysplit.engine.placement import Resources
from raysplit.errors import counted
from tests.toys import toy

FILE = """\
from raysplit import *

base = Scenario(
    name="p",
    population=synthetic_writers(writers=20, mean_samples=20, sd_samples=5),
    model=femnist_cnn(cut="V2"),
    protocol=SplitFedV2(),
    cohort=Cohort(size=4),
    training=Training(rounds=1, lr=0.1),
)
"""
NINE = "scenarios = grid(base, protocol=[SplitFedV2(), SplitFedV1(), FedAvg()], seed=[1, 2, 3])\n"


@pytest.fixture(autouse=True)
def eight_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def connect(*_: object) -> Iterator[Resources]:
        yield Resources(cpus=8, gpus=0.0)

    monkeypatch.setattr(doctor, "connect", connect)


def examined(here: Path, text: str) -> list[str]:
    (here / "file.py").write_text(text)
    sink = io.StringIO()
    doctor.examine(here / "file.py", None, (None, None, "auto", None), Console(file=sink, width=100))
    return sink.getvalue().splitlines()


def test_many_scenarios_are_one_table_with_a_line_each(tmp_path: Path) -> None:
    lines = examined(tmp_path, FILE + NINE)
    told = " ".join(lines)
    assert "All 9 scenarios: population synthetic_writers, synthetic: 20 clients; cohort 4" in " ".join(told.split())
    rows = [line.split() for line in lines if line.startswith("p-")]
    assert rows[0] == ["p-SplitFedV2-seed1", "13,248", "1.6", "835,134", "1", "pooled", "0.2"]
    assert rows[-1] == ["p-FedAvg-seed3", "848,382", "100.0", "0", "0", "colocated", "12.9"]
    assert len(rows) == 9 and "colocated: the model is not cut (3 scenarios)" in lines


def test_one_scenario_is_said_in_full_and_in_the_singular(tmp_path: Path) -> None:
    told = " ".join(examined(tmp_path, FILE + "scenario = base.replace(protocol=SplitLearning())\n"))
    assert "13,248 parameters (1.6 % of the model)" in told and "1 client host; colocated" in told
    assert "0 main" not in told


@pytest.mark.parametrize(
    ("protocol", "layout", "said"),
    [
        (SplitFedV2(), ("ray", 2, 1, "pooled", 1), "ray: 2 client hosts; server portion pooled in 1 main server"),
        (
            SplitFedV2(),
            ("ray", 1, 0, "colocated", 4),
            "ray: 1 client host; server portion colocated with its clients; updates in 4 column shards",
        ),
        (FedAvg(), ("ray", 1, 0, "colocated", 1), "ray: 1 client host"),
    ],
)
def test_every_number_of_the_start_line_says_of_what(protocol: object, layout: tuple[object, ...], said: str) -> None:
    about = dict(zip(("engine", "hosts", "servers", "placement", "shards"), layout, strict=True))
    server = toy(protocol).protocol.server  # type: ignore[arg-type]
    assert _where({**about, "gpus_per_host": 0.0, "server_portion": server}) == said


def test_a_single_thing_is_no_plural() -> None:
    assert [counted(n, "client") for n in (0, 1, 2, 3550)] == ["0 clients", "1 client", "2 clients", "3,550 clients"]
