"""What ``raysplit sweep --dry-run`` says: names whole on a narrow terminal, and how long it may take."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from raysplit import FedAvg, SplitFedV2
from raysplit.analysis.report.terminal import print_whole
from raysplit.app.running.engine_choice import EngineChoice
from raysplit.app.running.runner import Job, job_of
from raysplit.app.sweep import expected_time
from raysplit.app.sweep.expected_time import Clock
from raysplit.app.sweep.plan import Step, estimate, expected_seconds, plan_table, summary
from raysplit.storage.tables import open_tables
from tests.toys import toy

LONG = "a-scenario-whose-name-is-longer-than-half-of-a-narrow-terminal"
LOCAL = EngineChoice(engine="local")


def step(
    out: Path, name: str = "toy", state: str = "new", shared: int = 0, source: str = "", **changes: object
) -> Step:
    job: Job = job_of(toy(SplitFedV2(), name=name, **changes), out)
    return Step(job, state, job.scenario.training.rounds, 0, shared, source)


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Batches that were timed; each takes 30 ms at the client and 60 ms at the server."""
    seen: list[int] = []

    def time_step(scenario: object, x: object, y: list[int], repeats: int) -> tuple[float, float]:
        seen.append(len(y))
        return 0.03, 0.06

    monkeypatch.setattr(expected_time, "time_step", time_step)
    return seen


def test_names_are_whole_on_a_narrow_terminal(tmp_path: Path) -> None:
    first = step(tmp_path, LONG)
    second = step(tmp_path, "b", shared=1, source=first.job.folder.path.name)
    sink = io.StringIO()
    print_whole(plan_table([first, second], [1.0, 61.0]), Console(file=sink, width=40))
    lines = [line.split() for line in sink.getvalue().splitlines()]
    assert lines[2] == [LONG, "new", "2", "0", "0", "2", "1.00", "s"]
    assert lines[3] == ["b", "new", "2", "0", "1", "1", "61.0", "s", LONG]


def test_a_step_is_timed_once_for_scenarios_that_differ_by_attack_or_rule_alone(
    tmp_path: Path, timed: list[int]
) -> None:
    steps = [step(tmp_path), step(tmp_path, "other", shared=1), step(tmp_path, "third", training__rounds=4)]
    first, other, third = expected_seconds(steps, Clock(LOCAL, cpus=2))
    assert len(timed) == 1 and first is not None
    assert other == pytest.approx(first / 2) and third == pytest.approx(2 * first)
    others = [step(tmp_path, "long", training__local_epochs=3), step(tmp_path, state="finished")]
    longer, ended = expected_seconds(others, Clock(LOCAL, cpus=2))
    assert longer is not None and longer > 2 * first and ended == 0


def test_the_clients_work_is_shared_by_hosts_and_the_servers_is_not(tmp_path: Path, timed: list[int]) -> None:
    def seconds(protocol: object, hosts: int) -> float:
        job = job_of(toy(protocol, evaluation__every=2), tmp_path)  # type: ignore[arg-type]
        found = Clock(EngineChoice(hosts=hosts), cpus=8).round_s(job.scenario)
        assert found is not None
        return found

    assert seconds(FedAvg(), 2) == pytest.approx(seconds(FedAvg(), 1) / 2)
    assert seconds(SplitFedV2(), 4) > seconds(SplitFedV2(), 1) / 2


def test_rounds_that_were_trained_here_count_more_than_a_timed_step(tmp_path: Path, timed: list[int]) -> None:
    begun = step(tmp_path)
    folder = begun.job.folder
    with open_tables(folder.metrics) as tables:
        for number, wall in enumerate((9.0, 2.0, 4.0), 1):
            tables.rounds.append(
                {
                    "round": number, "samples": 1, "clients": 1, "malicious": 0, "update_norm": 0.1, "wall_s": wall,
                    "clients_per_s": 1.0, "peak_memory_bytes": 1, "ray_calls": 0, "retries": 0, "attacked": False,
                    "diverged": False, "train_loss": 1.0, "train_accuracy": 0.5,
                }
            )  # fmt: skip
    folder.mark("running", engine={"engine": "local"})
    assert expected_seconds([begun], Clock(LOCAL)) == [6.0] and timed == []
    (other_engine,) = expected_seconds([begun], Clock(EngineChoice(engine="ray")))
    assert other_engine != 6.0 and len(timed) == 1


def test_sentences_count_in_singular_and_plural(tmp_path: Path) -> None:
    one = step(tmp_path, training__rounds=1)
    assert summary([one]).startswith("1 scenario, 0 of them ended; 1 round in all, of which 0 are shared")
    assert summary([step(tmp_path), step(tmp_path, shared=1)]).startswith(
        "2 scenarios, 0 of them ended; 4 rounds in all"
    )
    assert "of which 1 is shared with another" in summary([step(tmp_path, shared=1)])
    assert estimate([60.0, 60.0, None], 2, 2).startswith("About 60.0 s on this machine")
    assert estimate([60.0, 60.0, None], 2, 2).endswith("; nothing known of 1 scenario")
    assert estimate([None], 1, 2) == "How long that takes cannot be told from here"
