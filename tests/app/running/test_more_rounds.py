"""A finished run that goes on with more rounds is the run that was asked for them from the start."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import raysplit
from raysplit import open_run
from raysplit.app.running.engine_choice import EngineChoice
from raysplit.app.running.more_rounds import job_with_more_rounds
from raysplit.app.running.runner import Job, Watch, jobs_from, resume, run
from raysplit.errors import RunError, ScenarioError
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.simulation.shared_rounds import check_longer
from raysplit.simulation.simulation import RoundReport
from raysplit.storage.checkpoints import holds_memory, is_whole, newest_checkpoint
from raysplit.storage.run_folder import RunFolder
from raysplit.training.optimizers import Sgd
from raysplit.training.settings import CosineDecay, StepDecay
from tests.end_to_end.test_runs import assert_same
from tests.toys import toy

LOCAL = EngineChoice(engine="local")
FILE = """\
from raysplit import *

scenario = Scenario(
    name="small",
    population=synthetic_writers(writers=6, mean_samples=6, sd_samples=1),
    model=lenet((1, 28, 28), classes=62, cut="layer2"),
    protocol=SplitFedV2(),
    cohort=Cohort(size=3, malicious=1 / 3, of="cohort"),
    training=Training(rounds=3, lr=0.01, batch_size=4, optimizer=Adam(), client_state="per_client"),
    attack=SignFlip(start_round=2),
    evaluation=Evaluation(every=2, clients=2),
    record_updates_every=2,
    seed=1,
)
"""


def job(folder: Path, *sets: str, keep_state: bool = False) -> Job:
    (folder / "small.py").write_text(FILE)
    [only] = jobs_from(folder / "small.py", folder / "runs", list(sets), keep_state=keep_state)
    return only


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Three rounds, evaluated after the second and, because it is the last, after the third."""
    return run(job(tmp_path_factory.mktemp("more"), "seed=2", keep_state=True), LOCAL, Watch()).folder


def test_it_has_the_bits_of_a_run_that_was_asked_for_them_from_the_start(finished: RunFolder, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in finished.path.rglob("*") if path.is_file()}
    heard: list[int] = []

    def stop(report: RoundReport) -> None:
        heard.append(report.round)
        raise KeyboardInterrupt

    longer = job_with_more_rounds(finished, 5)
    with pytest.raises(KeyboardInterrupt):
        run(longer, LOCAL, Watch(round=stop))
    resume(longer.folder.path, LOCAL, Watch(round=lambda report: heard.append(report.round)))  # like any other run
    straight = run(job(tmp_path, "seed=2", "training.rounds=5"), LOCAL, Watch())
    assert heard == [4, 5]
    more, anew = open_run(longer.folder.path), open_run(straight.folder.path)
    assert_same(more, anew)
    assert more.evaluations.column("round").to_pylist() == [2, 4, 5]
    assert more.updates(2).updates.equal(anew.updates(2).updates)
    assert more.path.name == anew.path.name != finished.path.name and more.path.parent == finished.path.parent
    assert more.state.record["forked_from"] == finished.path.name and more.state.record["forked_rounds"] == 3
    assert before == {path: path.read_bytes() for path in finished.path.rglob("*") if path.is_file()}
    assert json.loads((more.path / "origin.json").read_text())["set"] == ["seed=2", "training.rounds=5"]


def test_a_run_that_kept_its_model_alone_says_so_and_still_has_its_model(tmp_path: Path) -> None:
    folder = run(job(tmp_path), LOCAL, Watch()).folder
    [checkpoint] = folder.checkpoints.iterdir()
    assert checkpoint == newest_checkpoint(folder.checkpoints) and not is_whole(checkpoint)
    assert {file.name for file in checkpoint.iterdir()} == {"model.safetensors", "state.json"}
    with pytest.raises(RunError, match=r"kept its model alone when it finished, .* --set training.rounds=9, and with"):
        job_with_more_rounds(folder, 9)
    opened = open_run(folder.path)
    last = opened.evaluations.to_pylist()[-1]
    assert opened.evaluate().accuracy == last["accuracy"] and opened.evaluate().loss == last["loss"]


def test_a_run_whose_training_remembers_nothing_keeps_all_there_is(tmp_path: Path) -> None:
    ended = raysplit.run(
        toy(SplitFedV2(), training__optimizer=Sgd()), out=tmp_path
    )  # plain gradient descent and the mean
    checkpoint = newest_checkpoint(RunFolder(ended.path).checkpoints)
    assert checkpoint is not None and is_whole(checkpoint) and not holds_memory(checkpoint)


def test_a_schedule_that_would_have_gone_otherwise_is_refused_and_no_other() -> None:
    scenario = toy(SplitFedV2(), training__rounds=4)
    check_longer(scenario, 5)
    check_longer(scenario.replace(**{"training.schedule": StepDecay(every=2)}), 5)
    with pytest.raises(ScenarioError, match=r"follows CosineDecay, which goes by the number of rounds, so its first 4"):
        check_longer(scenario.replace(**{"training.schedule": CosineDecay()}), 5)
    with pytest.raises(ScenarioError, match=r"more than that, but it is 4"):
        check_longer(scenario, 4)
