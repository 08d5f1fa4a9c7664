"""``mypy --strict`` on a user's files: what it lets pass, and what it refuses. One run for all of them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import raysplit

pytest.importorskip("mypy")
pytestmark = pytest.mark.slow
ROOT = Path(raysplit.__file__).parents[1]

GOOD = """
import torch

import raysplit
from raysplit import Cohort, FedAvg, Median, PixelBackdoor, Scenario, Training, TrimmedMean, femnist_cnn, grid, part
from raysplit import synthetic_writers
from raysplit.contracts import Aggregate, AggregationRule, Poison, RoundContext, ThreatModel, UpdateAttack, UpdateView
from raysplit.contracts import updates_threat


@part
class Half(AggregationRule):
    factor: float = 0.5

    @property
    def columnwise(self) -> bool:
        return True

    def aggregate(self, updates: torch.Tensor, weights: torch.Tensor, context: RoundContext) -> Aggregate:
        return Aggregate(self.factor * (weights @ updates))


@part
class Zeros(UpdateAttack):
    start_round: int = 1

    @property
    def threat_model(self) -> ThreatModel:
        return updates_threat("partial")

    def poison(self, view: UpdateView) -> Poison:
        return Poison(torch.zeros_like(view.own))


scenario = Scenario(
    name="typed",
    population=synthetic_writers(writers=4),
    model=femnist_cnn(),
    protocol=FedAvg(),
    cohort=Cohort(size=2, malicious=0.5),
    training=Training(rounds=1, lr=0.1),
    defense=TrimmedMean(f=1),
    attack=Zeros(),
)
scenarios = grid(scenario, defense=[Half(factor=0.25), Median()])
run = raysplit.run(scenario, engine="local")
accuracy: float = run.evaluate().accuracy
logits: torch.Tensor = run.model()(torch.zeros(1, 1, 28, 28))
"""
REFUSED = {
    "TrimmedMean(trimm=3)": "[call-arg]",
    'Cohort(size="4")': "[arg-type]",
    "Cohort(size=4).size = 5": "[misc]",
    "raysplit.Secnario": "[attr-defined]",
    'raysplit.run(scenario, engine="cloud")': "[arg-type]",
    "scenario.replace(seed=1).nmae": "[attr-defined]",
    'Scenario(name="typed")': "[call-arg]",
    "contracts.Agregate": "[attr-defined]",
}
BAD = "\n".join(
    [
        "import raysplit",
        "from raysplit import Cohort, Scenario, TrimmedMean, contracts",
        "from good import scenario",
        *REFUSED,
    ]
)


@pytest.fixture(scope="module")
def complaints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[int, str]]:
    """By file: the complaint of each line, of the files above and of every scenario in the repository."""
    folder = tmp_path_factory.mktemp("typed")
    (folder / "good.py").write_text(GOOD)
    (folder / "bad.py").write_text(BAD)
    for path in sorted((ROOT / "scenarios").rglob("*.py")):
        (folder / f"{path.parent.name}_{path.name}").write_text(path.read_text())
    files = sorted(path.name for path in folder.glob("*.py"))
    options = ["--strict", "--follow-imports=silent", "--no-error-summary", "--ignore-missing-imports"]
    answer = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file=", *options, *files],
        cwd=folder,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert answer.returncode in (0, 1), answer.stderr
    found: dict[str, dict[int, str]] = {name: {} for name in files}
    for name, line, text in re.findall(r"^(\S+\.py):(\d+): error: (.*)$", answer.stdout, re.M):
        found[name][int(line)] = text
    return found


def test_a_scenario_with_a_rule_and_an_attack_of_its_own_passes(complaints):
    assert complaints["good.py"] == {}


def test_every_mistake_is_refused_in_its_line(complaints):
    lines = {line: text for line, text in complaints["bad.py"].items()}
    assert sorted(lines) == list(range(4, 4 + len(REFUSED)))
    for (mistake, code), text in zip(REFUSED.items(), (lines[line] for line in sorted(lines)), strict=True):
        assert code in text, f"{mistake}: {text}"
    assert 'Unexpected keyword argument "trimm" for "TrimmedMean"' in lines[4]


def test_the_scenarios_of_the_repository_pass(complaints):
    assert {name: texts for name, texts in complaints.items() if texts and name != "bad.py"} == {}
