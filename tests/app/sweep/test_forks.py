"""What is trained once: a run that took over another one's first rounds is, bit for bit, the run that trained them
itself."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

from raysplit import Detection, SignFlip, SmashedScreen, SplitFedV2, open_run
from raysplit.analysis.runs.run import Run
from raysplit.app.running.engine_choice import EngineChoice
from raysplit.app.running.runner import Ended, Watch, jobs_from, run, run_all
from raysplit.app.sweep.live import SweepLive
from raysplit.app.sweep.plan import ended_runs
from raysplit.app.sweep.side_by_side import Origin, run_side_by_side
from raysplit.simulation.shared_rounds import shared_rounds
from tests.app.sweep.tiny import TINY
from tests.end_to_end.test_runs import assert_same
from tests.toys import toy

LOCAL = EngineChoice(engine="local")


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The file, and the folder of its runs: all of them, two at a time, forking from one another."""
    here = tmp_path_factory.mktemp("sweep")
    (here / "tiny.py").write_text(TINY)
    jobs = jobs_from(here / "tiny.py", here / "runs", [])
    origin = Origin(here / "tiny.py", here / "runs", [], None, {})
    ended = list(run_side_by_side(origin, jobs, 2, SweepLive(len(jobs)).following))
    assert {one.folder.path for one in ended} == {job.folder.path for job in jobs}
    assert all(isinstance(one, Ended) and one.status == "finished" for one in ended)
    return here / "tiny.py", here / "runs"


def found(runs: Path, name: str) -> Run:
    [folder] = runs.glob(f"{name}-??????????")
    return open_run(folder)


def test_the_longest_common_opening_is_taken_over(played: tuple[Path, Path]) -> None:
    shared = {
        name: (
            found(played[1], name).state.record.get("forked_from", "")[:-11],
            found(played[1], name).state.record.get("forked_rounds"),
        )
        for name in (
            "V2-mean-clean",
            "V2-mean-sign",
            "V2-median-sign",
            "V2-median-late",
            "V2-more-sign",
            "FL-more-sign",
        )
    }
    assert shared == {
        "V2-mean-clean": ("", None),
        "V2-mean-sign": ("V2-mean-clean", 3),
        "V2-median-sign": ("V2-mean-clean", 3),
        "V2-median-late": ("V2-median-clean", 4),  # a round more than with the mean
        "V2-more-sign": ("V2-mean-clean", 3),  # another share of malicious clients
        "FL-more-sign": ("FL-mean-clean", 3),
    }


@pytest.mark.parametrize("name", ["mean-sign", "median-clean", "median-sign", "median-late", "more-clean", "more-sign"])
@pytest.mark.parametrize("split", ["V2", "FL"])
def test_a_forked_run_is_the_run_that_trained_everything_itself(
    played: tuple[Path, Path], tmp_path: Path, split: str, name: str
) -> None:
    [alone] = jobs_from(played[0], tmp_path, [], [f"{split}-{name}"])
    assert alone.forks == ()
    straight = open_run(run(alone, LOCAL, Watch()).folder.path)
    forked = found(played[1], f"{split}-{name}")
    assert "forked_from" in forked.state.record and "forked_from" not in straight.state.record
    assert_same(forked, straight)
    assert forked.rounds.num_rows == 5 and 0 < sum(straight.rounds.column("malicious").to_pylist()) < 20


def test_the_openings_say_who_would_lie_under_each_share(played: tuple[Path, Path]) -> None:
    fewer, more = (found(played[1], f"FL-{name}-sign").clients.to_pandas() for name in ("median", "more"))
    early = fewer["round"] <= 3
    assert fewer[early].malicious.sum() < more[more["round"] <= 3].malicious.sum()


def test_another_file_takes_over_what_an_ended_run_has_trained(played: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text(
        TINY.replace("0.5, StartAtRound", "0.75, StartAtRound").replace("{split}-{name}", "other-{split}-{name}")
    )
    origin = Origin(tmp_path / "other.py", played[1], [], ["other-FL-more-sign"], ended_runs(played[1]))
    [job] = origin.jobs()
    assert job.forks[0].rounds == 3
    [ended] = run_all([job], LOCAL, lambda _: nullcontext(Watch()), "continue")
    forked = open_run(ended.folder.path)
    assert forked.state.record["forked_rounds"] == 3
    [alone] = jobs_from(tmp_path / "other.py", tmp_path / "alone", [], ["other-FL-more-sign"])
    assert_same(forked, open_run(run(alone, LOCAL, Watch()).folder.path))


@pytest.mark.parametrize(("detection", "rounds"), [(None, 3), (Detection((SmashedScreen(),)), 0)])
def test_a_round_whose_table_judges_liars_is_not_shared_between_shares(
    detection: Detection | None, rounds: int
) -> None:
    few = toy(SplitFedV2(), clients=4, detection=detection, training__rounds=5, cohort__malicious=0.25)
    few = few.replace(attack=SignFlip(start_round=4))
    many = few.replace(**{"cohort.malicious": 0.5})
    assert shared_rounds(many, few.to_json()) == rounds
    assert shared_rounds(few.replace(attack=None), few.to_json()) == 3, "the same liars are"
