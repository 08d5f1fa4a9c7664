"""scenarios/protocols.py runs to its end, and one that carries more than a model from round to round goes on after an
interrupt."""

from pathlib import Path

import pytest

import raysplit
from raysplit.analysis.runs.run import open_run
from raysplit.app.running.engine_choice import EngineChoice
from raysplit.app.running.runner import Watch, jobs_from, resume, run
from raysplit.protocols.protocol import TrainingProtocol
from raysplit.storage.checkpoints import newest_checkpoint

FILE = Path(__file__).resolve().parents[2] / "scenarios" / "protocols.py"
LOCAL = EngineChoice(engine="local")
JOBS = [job.scenario.name for job in jobs_from(FILE, Path("runs"), [])]


@pytest.mark.parametrize("name", JOBS)
def test_every_protocol_runs_to_its_end(tmp_path, name):
    [job] = jobs_from(FILE, tmp_path, ["training.rounds=1", "evaluation.clients=5"], [name])
    ended = run(job, LOCAL, Watch())
    assert ended.status == "finished"
    opened = open_run(ended.folder.path)
    in_training = job.scenario.protocol.published.tested == "in_training"
    assert opened.evaluations["clients"].to_pylist() == [job.scenario.cohort.size if in_training else 5]
    personal = job.scenario.protocol.client_sync == "personal"
    assert (newest_checkpoint(ended.folder.checkpoints) / "clients.safetensors").exists() is personal


def test_every_protocol_that_can_be_imported_is_there():
    public = [getattr(raysplit, name) for name in raysplit.__all__]
    protocols = {thing for thing in public if isinstance(thing, type) and issubclass(thing, TrainingProtocol)}
    assert len(protocols) > 10
    assert protocols == {type(job.scenario.protocol) for job in jobs_from(FILE, Path("runs"), [])}


KEEP = ["sflv3", "sglr", "sfl-buffered", "sl-async", "thapa2022-sflv1"]


@pytest.mark.parametrize("name", [f"protocols-{name}" for name in KEEP])
def test_an_interrupted_run_goes_on_with_what_it_carries(tmp_path, name):
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
