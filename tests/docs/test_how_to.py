"""Every python block of docs/how-to is a whole scenario file; each is run as a user would run it."""

import re
from pathlib import Path

import pytest

import raysplit
from raysplit.analysis.runs.run import open_run
from raysplit.app.running.engine_choice import EngineChoice
from raysplit.app.running.runner import Watch, jobs_from, run
from raysplit.scenario.file import load_scenarios

PAGES = sorted((Path(__file__).resolve().parents[2] / "docs" / "how-to").glob("*.md"))
BLOCKS = [
    pytest.param(page.stem, block, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, block in enumerate(re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S))
]


def play(folder, page, block, choice):
    """The runs that a block's scenarios leave behind."""
    file = folder / f"{page.replace('-', '_')}.py"
    file.write_text(block, encoding="utf-8")
    return [open_run(run(job, choice, Watch()).folder.path) for job in jobs_from(file, folder / "runs", [])]


def test_every_page_has_an_example():
    assert [page.stem for page in PAGES] == [
        "attack",
        "cluster",
        "data-set",
        "defense",
        "detection",
        "frontier",
        "inference",
        "message-defenses",
        "noise-layer",
        "privacy",
        "protocol",
    ]
    assert {block.values[0] for block in BLOCKS} == {page.stem for page in PAGES}


@pytest.mark.parametrize(("page", "block"), BLOCKS)
def test_example_runs_to_its_end(tmp_path, page, block):
    runs = play(tmp_path, page, block, EngineChoice(engine="local"))
    assert [opened.state.status for opened in runs] == ["finished"] * len(runs)


@pytest.mark.slow
@pytest.mark.parametrize("page", ["data-set", "protocol", "attack"])
def test_a_users_own_parts_travel_to_ray_hosts(tmp_path, page):
    """The classes of these pages work on the hosts; rules and attacks on updates stay with the driver."""
    *_, block = [param.values[1] for param in BLOCKS if param.values[0] == page]
    (tmp_path / "local").mkdir()
    (tmp_path / "ray").mkdir()
    here = play(tmp_path / "local", page, block, EngineChoice(engine="local"))
    there = play(tmp_path / "ray", page, block, EngineChoice(engine="ray", hosts=2))
    assert [opened.state.digest for opened in there] == [opened.state.digest for opened in here]


def test_data_set_example_learns(tmp_path):
    [block] = [param.values[1] for param in BLOCKS if param.values[0] == "data-set"]
    [opened] = play(tmp_path, "data-set", block, EngineChoice(engine="local"))
    summary = opened.summary()
    assert summary.final is not None and summary.final > 0.9


def test_inference_example_attacks_its_own_run(tmp_path):
    """The page's attack answers with auxiliary images alone, the nearest of them."""
    [block] = [param.values[1] for param in BLOCKS if param.values[0] == "inference"]
    (tmp_path / "page.py").write_text(block, encoding="utf-8")
    scenarios, module = load_scenarios(tmp_path / "page.py")
    opened = raysplit.run(scenarios[0], out=tmp_path / "runs")
    assert [path.name for path in (opened.path / "observations").iterdir()] == ["round-000002.arrow"]
    found = raysplit.infer(opened, module.NearestSample(), round=2, samples=6)
    known = found.target.auxiliary.x
    assert all((known == image).flatten(1).all(1).any() for image in found.found.inputs)
    assert found.found.queries == len(known[:1000]) and {score.metric for score in found.scores} >= {"MSE", "SSIM"}


def test_defense_example_is_the_rule_that_aggregates(tmp_path):
    [block] = [param.values[1] for param in BLOCKS if param.values[0] == "defense"]
    clean, attacked = play(tmp_path, "defense", block, EngineChoice(engine="local"))
    assert set(attacked.aggregation.column("rule").to_pylist()) == {"NormBound"}
    assert clean.attacks.num_rows == 0 and attacked.attacks.num_rows == 2


def test_attack_example_starts_in_round_two(tmp_path):
    block, *_ = [param.values[1] for param in BLOCKS if param.values[0] == "attack"]
    clean, attacked = play(tmp_path, "attack", block, EngineChoice(engine="local"))
    assert attacked.attacks.column("attack").to_pylist() == ["Contrarian"]
    assert attacked.attacks.column("round").to_pylist() == [2]
    assert clean.rounds.slice(0, 1).column("train_loss") == attacked.rounds.slice(0, 1).column("train_loss")


def test_example_of_an_attack_on_messages_changes_them_in_round_two(tmp_path):
    _, block, _ = [param.values[1] for param in BLOCKS if param.values[0] == "attack"]
    clean, attacked = play(tmp_path, "attack", block, EngineChoice(engine="local"))
    [row] = attacked.attacks.to_pylist()
    assert (row["attack"], row["round"], row["m"], row["messages"]) == ("Shuffled", 2, 2, 2)
    assert row["relative_change"] > 0.05 and row["relabelled"] == 0
    assert clean.rounds.slice(0, 1).column("train_loss") == attacked.rounds.slice(0, 1).column("train_loss")


def test_example_of_an_attack_on_steps_sends_images_of_nothing_from_a_clients_third_step_on(tmp_path):
    *_, block = [param.values[1] for param in BLOCKS if param.values[0] == "attack"]
    [run] = play(tmp_path, "attack", block, EngineChoice(engine="local"))
    rows = run.attacks.to_pylist()
    assert {row["attack"] for row in rows} == {"SleeperCell"} and all(row["m"] == 1 for row in rows)
