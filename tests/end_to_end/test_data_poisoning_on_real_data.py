"""On real digits (MNIST): each attack on data beats no attack at what it wants, in federated and split-federated
learning.

1,500 digits, 20 clients, four of them malicious (eight for what wants a worse model); 500 digits to test on.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from data_prep import mnist
from raysplit import (
    FLAME,
    Brightness,
    CompositeAttack,
    DistributedBackdoor,
    EdgeCaseBackdoor,
    FarthestLabelFlip,
    FedAvg,
    LabelFlip,
    Mean,
    ModelReplacement,
    Neurotoxin,
    NormClipping,
    PixelBackdoor,
    SemanticBackdoor,
    SplitFedV2,
    TargetedLabelFlip,
    TrimmedMean,
    subset,
)
from raysplit.app.running.runner import jobs_from
from raysplit.engine.host import Host
from raysplit.population.arrow import ArrowFile
from raysplit.population.partition.iid import Iid
from raysplit.population.partition.partitioned import partitioned
from tests.conftest import needs
from tests.toys import Played, play

pytestmark = pytest.mark.slow
FILE = Path(__file__).resolve().parents[2] / "scenarios" / "backdoors.py"
PIXEL, REPLACED = PixelBackdoor(target=0), ModelReplacement()


@pytest.fixture(scope="module")
def base(test_data, tmp_path_factory):
    """The first scenario of scenarios/backdoors.py on the digits of the test data."""
    file = tmp_path_factory.mktemp("digits") / "mnist.arrow"
    mnist.prepare(file, source=needs(test_data, "MNIST"), console=Console(quiet=True))
    [job] = jobs_from(FILE, file.parent, [], ["backdoors-fl-clean"])
    population = partitioned(subset(ArrowFile(str(file)), 1500, 500), Iid(), clients=20)
    return job.scenario.replace(population=population, **{"evaluation.every": 20})


PROTOCOLS = [
    pytest.param({"protocol": FedAvg()}, id="FedAvg"),
    pytest.param({"protocol": SplitFedV2(), "training.rounds": 10}, id="SplitFedV2"),
]


@cache
def played(scenario) -> Played:
    """A finished run; what several tests compare theirs with is played once."""
    return play(scenario)


def success_and_accuracy(base, attack, **changes) -> tuple[float, float, float, float]:
    """Success of the attack without it and with it, and the accuracies."""
    attacked = base.replace(attack=attack, **changes)
    untouched = played(base.replace(**{k: v for k, v in changes.items() if k in ("protocol", "training.rounds")}))
    tried = Host(attacked).evaluate(np.arange(20), untouched.state.client, untouched.state.server)
    row, twin = (p.tables["evaluations"].to_pylist()[-1] for p in (played(attacked), untouched))
    before = 0.0 if tried.attempts is None else tried.successes.sum() / tried.attempts.sum()
    print(
        f"ASR {100 * before:.1f} -> {row['attack_success']}, accuracy {twin['accuracy']} -> {row['accuracy']}, "
        f"{row['attack_samples']}"
    )
    return before, row["attack_success"], twin["accuracy"], row["accuracy"]


@pytest.mark.parametrize("how", PROTOCOLS)
@pytest.mark.parametrize(
    ("attack", "least"),
    [
        (PIXEL, 0.8),
        (CompositeAttack((DistributedBackdoor(target=0), REPLACED)), 0.8),
        (CompositeAttack((TargetedLabelFlip(1, 7), REPLACED)), 0.5),
        (CompositeAttack((PIXEL, Neurotoxin(attack=REPLACED))), 0.8),
    ],
    ids=["pixel", "distributed", "targeted", "neurotoxin"],
)
def test_a_goal_is_reached(base, how, attack, least):
    before, after, _, _ = success_and_accuracy(base, attack, **how)
    assert before < 0.05 and after > least


@pytest.mark.parametrize("how", PROTOCOLS)
def test_fashion_passes_for_a_three(base, how, test_data, tmp_path):
    from data_prep import fashion_mnist

    file = tmp_path / "fashion_mnist.arrow"
    fashion_mnist.prepare(file, source=needs(test_data, "FashionMNIST"), console=Console(quiet=True))
    before, after, _, accuracy = success_and_accuracy(base, EdgeCaseBackdoor(ArrowFile(str(file)), target=3), **how)
    assert after > before + 0.5 and accuracy > 0.85


def test_thin_sevens_pass_for_ones(base):
    attack = CompositeAttack((SemanticBackdoor(Brightness(high=0.1), target=1, source=7), ModelReplacement(scale=2.0)))
    before, after, _, _ = success_and_accuracy(base, attack, **{"cohort.malicious": 0.4})
    assert before == 0 and after > 0.25  # of 18 samples


@pytest.mark.parametrize("how", PROTOCOLS)
@pytest.mark.parametrize(
    ("attack", "least"), [(LabelFlip(), 0.1), (LabelFlip("random"), 0), (FarthestLabelFlip(), 0.1)], ids=repr
)
def test_flipped_labels_cost_accuracy(base, how, attack, least):
    _, _, before, after = success_and_accuracy(base, attack, **how, **{"cohort.malicious": 0.4})
    assert before > 0.85 and after < before - least


@pytest.mark.parametrize("rule", [NormClipping(), FLAME(), TrimmedMean()], ids=repr)
def test_rules_close_the_replaced_models_backdoor(base, rule):
    attack = CompositeAttack((PIXEL, REPLACED))
    _, opened, _, _ = success_and_accuracy(base, attack, defense=Mean())
    _, closed, _, accuracy = success_and_accuracy(base, attack, defense=rule)
    assert opened > 0.9 and closed < 0.5 and accuracy > 0.85
