"""``raysplit run --shards``: the digests and tables of a run without, attacked twin and resumed run included."""

from __future__ import annotations

import sys

import pytest

from raysplit import open_run
from raysplit.app.cli import main
from raysplit.app.running.live import ProgressLine

FILE = """\
from raysplit import *

base = Scenario(
    name="tiny",
    population=synthetic_writers(writers=12, mean_samples=8, sd_samples=2),
    model=femnist_cnn(cut="V2"),
    protocol=SplitFedV2(),
    cohort=Cohort(size=6, malicious=0.34, of="cohort"),
    training=Training(rounds=2, lr=0.05),
    defense=TrimmedMean(),
    evaluation=Evaluation(clients=4),
)
scenarios = grid(base, attack={"clean": None, "attacked": AgrTailored(start_round=2)})
"""


def ran(folder, monkeypatch, *options):
    folder.mkdir()
    (folder / "tiny.py").write_text(FILE)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["raysplit", "run", "tiny.py", "--json", *options])
    main()
    return {path.name: open_run(path) for path in (folder / "runs").iterdir() if path.is_dir()}


@pytest.mark.parametrize("engine", ["local", pytest.param("ray", marks=pytest.mark.slow)])
def test_the_command_gives_the_same_digests_with_shards(tmp_path, monkeypatch, engine):
    plain = ran(tmp_path / "plain", monkeypatch, "--engine", "local")
    sharded = ran(tmp_path / "sharded", monkeypatch, "--engine", engine, "--shards", "4")
    assert len(plain) == 2 and plain.keys() == sharded.keys(), "shards are no part of a scenario's hash"
    for name, run in plain.items():
        assert sharded[name].state.digest == run.state.digest
        columns = [column for column in run.aggregation.column_names if column != "seconds"]
        assert sharded[name].aggregation.select(columns).to_pylist() == run.aggregation.select(columns).to_pylist()


def test_an_interrupted_run_goes_on_in_shards(tmp_path, monkeypatch):
    """Interrupted with shards and resumed with them, or with another number of them, or with none: as if nothing had
    happened."""
    reference = ran(
        tmp_path / "reference", monkeypatch, "--engine", "local", "--only", "tiny-clean", "--set", "training.rounds=4"
    )
    ((name, whole),) = reference.items()

    def interrupt(self, form):
        if form["round"] == 2:
            raise KeyboardInterrupt

    for shards in ("4", "2", "1"):
        with monkeypatch.context() as patch, pytest.raises(SystemExit):
            patch.setattr(ProgressLine, "_round", interrupt)
            ran(
                tmp_path / shards, monkeypatch, "--engine", "local", "--shards", "4",
                "--only", "tiny-clean", "--set", "training.rounds=4",
            )  # fmt: skip
        monkeypatch.setattr(
            sys, "argv", ["raysplit", "resume", f"runs/{name}", "--engine", "local", "--shards", shards]
        )
        main()
        resumed = open_run(tmp_path / shards / "runs" / name)
        assert resumed.state.digest == whole.state.digest
        columns = [column for column in whole.aggregation.column_names if column != "seconds"]
        assert resumed.aggregation.select(columns).to_pylist() == whole.aggregation.select(columns).to_pylist()
