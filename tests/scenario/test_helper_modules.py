"""Modules beside a scenario file: found, kept apart, kept in the run folder, resumed and sent."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from raysplit.errors import ScenarioError
from raysplit.parts.own_modules import own_files, own_modules
from raysplit.scenario.file import load_scenarios

SCENARIO = """\
import json
from nets import make
import shapes
import lab.deep.blocks
from lab import WIDTH
from raysplit import Cohort, Evaluation, FedAvg, Scenario, Training, sequential, synthetic_writers

scenario = Scenario(
    name="helped",
    population=synthetic_writers(writers=12, mean_samples=10, sd_samples=2),
    model=sequential(make, (1, 28, 28), 62, cut="conv", width=WIDTH),
    protocol=FedAvg(),
    cohort=Cohort(2),
    training=Training(rounds=2, lr=0.05),
    evaluation=Evaluation(clients=2),
)
"""
FILES = {
    "nets.py": "import shapes\nfrom lab.deep import blocks\n\n\n"
    "def make(width):\n    return blocks.stages(width, shapes.CLASSES)\n",
    "shapes.py": "import nets\n\nCLASSES = 62\n",
    "lab/__init__.py": "from .settings import WIDTH\n",
    "lab/settings.py": "WIDTH = 2\n",
    "lab/deep/blocks.py": "from torch import nn\n\nfrom ..settings import WIDTH\n\n\n"
    "def stages(width, classes):\n"
    "    return [('conv', nn.Conv2d(1, width, 5)), ('fc', nn.Sequential(nn.Flatten(), nn.Linear(576 * width, "
    "classes)))]\n",
    "json.py": "raise ImportError('this hides the standard library')\n",
}
REPOSITORY = Path(__file__).parents[2]


def written(folder: Path, **changed: str) -> Path:
    for name, text in {**FILES, "helped.py": SCENARIO}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    for name, text in changed.items():
        (folder / f"{name}.py").write_text(text)
    return folder / "helped.py"


def command(here: Path, *arguments: str, code: int = 0) -> str:
    """The console script, for which the scenario's folder is no place to import from."""
    program = "import sys; sys.path = [p for p in sys.path if p not in ('', '.')]; "
    program += "from raysplit.app.cli import main; sys.argv[0] = 'raysplit'; main()"
    ended = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert ended.returncode == code, (ended.stdout[-2000:], ended.stderr[-2000:])
    return ended.stdout + ended.stderr


def test_modules_beside_a_scenario_file_are_found_and_leave_no_trace(tmp_path):
    file = written(tmp_path)
    import raysplit.app.running.runner  # noqa: F401 - what the scenario imports is there before

    path, names = list(sys.path), {name.partition(".")[0] for name in sys.modules}
    (scenario,), module = load_scenarios(file)
    assert [name for name, _ in scenario.model.stages()] == ["conv", "fc"]
    assert sys.path == path
    assert {name.partition(".")[0] for name in sys.modules} - names == {module.__name__}
    assert not list(tmp_path.rglob("__pycache__"))


def test_what_is_installed_is_not_hidden_by_a_file_of_that_name(tmp_path):
    _, module = load_scenarios(written(tmp_path))
    assert module.json is json


def test_two_scenario_files_with_different_helpers_do_not_mix(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    a = load_scenarios(written(tmp_path / "a"))
    b = load_scenarios(written(tmp_path / "b", shapes="import nets\n\nCLASSES = 7\n"))
    assert (a[1].shapes.CLASSES, b[1].shapes.CLASSES) == (62, 7)
    assert a[0][0].model.stages()[1][1][1].out_features == 62 and b[0][0].model.stages()[1][1][1].out_features == 7
    assert a[0][0].hash != b[0][0].hash == load_scenarios(tmp_path / "b" / "helped.py")[0][0].hash


def test_an_edited_helper_is_read_anew(tmp_path):
    before = load_scenarios(written(tmp_path))[0][0].hash
    assert load_scenarios(written(tmp_path, shapes="import nets\n\nCLASSES = 63\n"))[0][0].hash != before


def test_the_same_files_elsewhere_have_the_same_hash(tmp_path):
    assert load_scenarios(written(tmp_path / "a"))[0][0].hash == load_scenarios(written(tmp_path / "b"))[0][0].hash


def test_a_mistake_in_a_helper_is_one_sentence_with_its_place(tmp_path):
    with pytest.raises(ScenarioError, match=r"^shapes\.py:2: ZeroDivisionError: division by zero$"):
        load_scenarios(written(tmp_path, shapes="import nets\n1 / 0\n"))
    with pytest.raises(ScenarioError, match=r"^shapes\.py:1 is not valid Python: "):
        load_scenarios(written(tmp_path, shapes="1 +\n"))
    with pytest.raises(ScenarioError, match=r"nets\.py:1: ModuleNotFoundError: No module named 'nowhere'$"):
        load_scenarios(written(tmp_path, nets="import nowhere\n"))
    with pytest.raises(ScenarioError, match=r"^.*helped\.py:2: nets has no 'make'; did you mean 'maker'\?$"):
        load_scenarios(written(tmp_path, nets="def maker(): pass\n"))


def test_all_modules_of_the_users_own_are_kept_as_they_were_loaded(tmp_path):
    file = written(tmp_path)
    _, module = load_scenarios(file)
    for name in FILES:
        (tmp_path / name).write_text("edited while the run goes on\n")
    kept = own_files(module)
    assert kept == {"scenario.py": SCENARIO.encode()} | {
        f"modules/{name}": text.encode() for name, text in FILES.items() if name != "json.py"
    }


def test_a_module_travels_with_all_that_is_in_it_even_where_modules_name_each_other(tmp_path):
    from ray import cloudpickle

    (scenario,), module = load_scenarios(written(tmp_path))
    cloudpickle.register_pickle_by_value(module)
    try:
        data = cloudpickle.dumps(scenario.model)
    finally:
        cloudpickle.unregister_pickle_by_value(module)
    for own in own_modules(module):
        del sys.modules[own.__name__]
    for name in FILES:
        (tmp_path / name).unlink()
    assert [name for name, _ in pickle.loads(data).stages()] == ["conv", "fc"]


@pytest.mark.slow
def test_the_console_script_runs_and_resumes_a_scenario_with_helpers_from_the_run_folder_alone(tmp_path):
    written(tmp_path / "dir")
    command(tmp_path, "run", "dir/helped.py", "--engine", "local", "--set", "training.rounds=1", "--out", "whole")
    command(tmp_path, "run", "dir/helped.py", "--engine", "local", "--out", "runs")
    (run,) = (path for path in (tmp_path / "runs").iterdir() if path.is_dir())
    assert (run / "modules" / "lab" / "deep" / "blocks.py").read_text() == FILES["lab/deep/blocks.py"]
    state = (run / "run.json").read_text()
    (run / "run.json").write_text(state.replace('"finished"', '"interrupted"'))
    for file in sorted((tmp_path / "dir").rglob("*.py")):
        file.unlink()
    command(tmp_path, "resume", str(run), "--engine", "local")


def digest(folder: Path) -> str:
    (run,) = (path for path in folder.iterdir() if path.is_dir())
    return str(json.loads((run / "run.json").read_text())["digest"])


@pytest.mark.slow
def test_hosts_train_with_helpers_that_only_the_driver_has(tmp_path):
    """From a folder in which ``raysplit`` is the name of a folder with the scenario in it."""
    written(tmp_path / "raysplit")
    command(tmp_path, "run", "raysplit/helped.py", "--engine", "local", "--out", "local")
    command(tmp_path, "run", "raysplit/helped.py", "--hosts", "1", "--out", "ray")
    assert digest(tmp_path / "local") == digest(tmp_path / "ray")
