"""Screens on made-up visits: who is unlike the others is rejected, memory is bounded, and one client counts once."""

import pytest
import torch

from raysplit.defenses.detection.detection import Detection, SplitStepView
from raysplit.defenses.detection.gradient_screen import GradientScreen
from raysplit.defenses.detection.label_screen import LabelScreen
from raysplit.defenses.detection.peers import add_split_step, deviation, means
from raysplit.defenses.detection.sketch import sketch
from raysplit.defenses.detection.smashed_screen import SmashedScreen
from raysplit.errors import ScenarioError


def split_step(client, seed, loss=1.0, z=1.0, gradient=1.0, labels=True, round=1):
    generator = torch.Generator().manual_seed(seed)
    smashed = z * (torch.rand(6, 50, generator=generator) + 1)
    gradients = gradient * (0.1 + 0.02 * torch.randn(6, 50, generator=generator))
    y = torch.arange(6) % 3 if labels else None
    return SplitStepView(round, client, 0, smashed, y, loss if labels else None, gradients, 3)


def judged(screen, views):
    memory, accepted = {}, []
    for view in views:
        verdict = screen.judge(view, memory)
        memory = verdict.memory
        accepted.append(verdict.accept)
    return accepted, memory


CASES = [
    (LabelScreen(), {"loss": 4.0}),
    (SmashedScreen(), {"z": 3.0}),
    (SmashedScreen(), {"z": -1.0}),
    (SmashedScreen(), {"z": -1.0, "labels": False}),
    (GradientScreen(), {"gradient": 10.0}),
    (GradientScreen(), {"gradient": 0.0}),
    (GradientScreen(), {"gradient": -1.0, "labels": False}),
]


@pytest.mark.parametrize(("screen", "lie"), CASES, ids=repr)
def test_who_is_unlike_the_others_is_rejected_once_there_are_enough(screen, lie):
    labels = lie.get("labels", True)
    honest = [split_step(k, k, loss=1 + 0.02 * k, labels=labels) for k in range(8)]
    assert judged(screen, honest)[0] == [True] * 8
    malicious_client = split_step(99, 99, **lie)
    assert judged(screen, [*honest, malicious_client, split_step(9, 9, labels=labels)])[0] == [True] * 8 + [False, True]
    assert judged(screen, [*honest[:3], malicious_client])[0][-1], "three others are too few"


@pytest.mark.parametrize(
    "screen", [LabelScreen(clients=5), SmashedScreen(clients=5), GradientScreen(clients=5)], ids=repr
)
def test_memory_holds_so_many_clients_the_last_to_come(screen):
    _, memory = judged(screen, [split_step(k % 9, k) for k in range(30)])
    assert memory["clients"].tolist() == [6, 7, 8, 0, 1, 2]
    assert {len(tensor) for tensor in memory.values()} == {6}


def test_an_entry_is_the_mean_of_one_turn_and_a_new_round_begins_a_new_one():
    memory = {}
    for client, round, value in [(3, 1, 1.0), (4, 1, 5.0), (3, 1, 2.0), (3, 2, 7.0), (4, 1, 6.0)]:
        memory = add_split_step(memory, client, round, {"value": torch.tensor(value, dtype=torch.float64)}, 10)
    assert memory["clients"].tolist() == [3, 4] and memory["rounds"].tolist() == [2, 1]
    assert means(memory, "value").tolist() == [7.0, 5.5]


def test_deviation_is_in_robust_standard_deviations_of_the_others():
    values = torch.tensor([1.0, 2.0, 3.0, 4.0, 100.0, 3.0 + 2 * 1.4826], dtype=torch.float64)
    assert deviation(values, 0.01) == pytest.approx(2.0)
    assert deviation(torch.tensor([1.0, 1.0, 1.0, 1.1]).double(), 0.05) == pytest.approx(2.0), (
        "never less than the floor"
    )


def test_judging_changes_no_memory_that_it_was_given():
    for screen in (LabelScreen(), SmashedScreen(), GradientScreen()):
        _, memory = judged(screen, [split_step(k, k) for k in range(6)])
        before = {name: tensor.clone() for name, tensor in memory.items()}
        screen.judge(split_step(3, 7), memory)
        assert all(memory[name].equal(tensor) for name, tensor in before.items())


def test_sketches_keep_lengths_and_angles_roughly():
    vectors = torch.randn(20, 5000, generator=torch.Generator().manual_seed(0))
    short = sketch(vectors, 256)
    ratio = short.norm(dim=1) / vectors.double().norm(dim=1)
    assert float(ratio.min()) > 0.8 and float(ratio.max()) < 1.2
    assert sketch(vectors[:, :40], 64).equal(vectors[:, :40].double()), "short ones pass as they are"


@pytest.mark.parametrize("kind", [LabelScreen, SmashedScreen, GradientScreen])
@pytest.mark.parametrize("wrong", [{"threshold": 0.0}, {"least": 1}, {"clients": 3}])
def test_numbers_that_could_not_judge_are_refused(kind, wrong):
    with pytest.raises(ScenarioError, match=f"{kind.__name__}.{next(iter(wrong))}"):
        kind(**wrong)


def test_detection_needs_a_detector():
    with pytest.raises(ScenarioError, match="needs screens"):
        Detection()
