"""scenarios/protocols.py runs to its end, and a run with portions of clients' own goes on after an interrupt."""

from pathlib import Path

import pytest

from raysplit.engine.checkpoints import newest_checkpoint
from raysplit.metrics.run import open_run
from raysplit.runner import EngineChoice, Watch, jobs_from, resume, run

FILE = Path(__file__).resolve().parents[2] / "scenarios" / "protocols.py"
LOCAL = EngineChoice(engine="local")
JOBS = [job.scenario.name for job in jobs_from(FILE, Path("runs"), [])]


@pytest.mark.parametrize("name", JOBS)
def test_every_protocol_runs_to_its_end(tmp_path, name):
    [job] = jobs_from(FILE, tmp_path, ["training.rounds=1", "evaluation.clients=5"], [name])
    ended = run(job, LOCAL, Watch())
    assert ended.status == "finished"
    opened = open_run(ended.folder.path)
    assert opened.evaluations["clients"].to_pylist() == [5]
    personal = job.scenario.protocol.meeting == "personal"
    assert (newest_checkpoint(ended.folder.checkpoints) / "clients.safetensors").exists() is personal


@pytest.mark.parametrize("name", ["protocols-sflv3", "protocols-sglr"])
def test_an_interrupted_run_goes_on_with_everybodys_own_portion(tmp_path, name):
    sets = ["training.rounds=3", "evaluation.clients=5"]
    [straight] = jobs_from(FILE, tmp_path / "straight", sets, [name])
    [broken] = jobs_from(FILE, tmp_path / "broken", sets, [name])

    def stop(report):
        if report.round == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(broken, LOCAL, Watch(round=stop))
    ended = resume(broken.folder.path, LOCAL, Watch())
    assert ended.digest == run(straight, LOCAL, Watch()).digest
