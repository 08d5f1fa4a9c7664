"""By what points are compared, and what a point's leakage is of several attacks."""

from __future__ import annotations

import pytest

from raysplit import ClusterLabels, CutGradientMembership, Frontier, QueryDecoder, Sdar, SplitFedV2
from raysplit.analysis.frontier.leakage import Leak, setup_for
from raysplit.analysis.frontier.measured import Measured, PointRun, _strongest
from raysplit.analysis.frontier.measures import MEASURES, on_front, usual_axis
from raysplit.analysis.report.frontier import axes_of
from raysplit.errors import ScenarioError
from raysplit.scenario.frontier import Point
from tests.toys import toy

GUESS = {("mean image", "MSE"): 0.02, ("mean image", "SSIM"): 0.36, ("black image", "SSIM"): 0.32}


def point(name: str, status: str = "finished", **numbers: float | None) -> Measured:
    run = PointRun(None, None, status)  # type: ignore[arg-type]
    return Measured(Point("V1", name, name, None, None), run, PointRun(None, None, "none"), **numbers)  # type: ignore[arg-type]


def test_each_measure_is_of_the_attack_that_is_best_at_it() -> None:
    sharp = Leak("sharp", {("A", "SSIM"): 0.9, ("A", "MSE"): 0.01, ("A", "identified"): 0.5, **GUESS}, "A")
    near = Leak("near", {("B", "SSIM"): 0.8, ("B", "MSE"): 0.005, ("B", "identified"): 0.7, **GUESS}, "B")
    labels = Leak("labels", {("C", "labels right, best naming"): 0.4}, "C")
    refused = Leak("refused", {}, "", "it cannot be")
    found, whose = _strongest([sharp, near, labels, refused])
    assert found == {"ssim": 0.9, "identified": 0.7, "error": 0.25, "labels": 0.4}
    assert whose == {"ssim": "sharp", "identified": "near", "error": "near", "labels": "labels"}


def test_less_than_a_guess_finds_is_no_better_than_that_guess() -> None:
    weak = point("weak", accuracy=0.7, ssim=0.1, guess_ssim=0.36)
    better = point("better", accuracy=0.8, ssim=0.3, guess_ssim=0.36)
    leaking = point("leaking", accuracy=0.9, ssim=0.5, guess_ssim=0.36)
    assert on_front([weak, better, leaking], [MEASURES["ssim"], MEASURES["accuracy"]]) == [False, True, True]
    nothing = [point("a", accuracy=0.7, error=1.8), point("b", accuracy=0.8, error=1.1)]
    assert on_front(nothing, [MEASURES["error"], MEASURES["accuracy"]]) == [False, True]


def test_points_without_a_measure_and_diverged_ones_are_on_no_front() -> None:
    points = [
        point("whole", accuracy=0.5, ssim=0.9),
        point("unattacked", accuracy=0.9),
        point("diverged", "diverged", accuracy=0.9, ssim=0.1),
        point("not a number", accuracy=float("nan"), ssim=0.1),
    ]
    assert on_front(points, [MEASURES["ssim"], MEASURES["accuracy"]]) == [True, False, False, False]


def test_the_plot_is_of_leakage_where_any_was_measured_else_of_the_drop_else_of_bytes() -> None:
    assert usual_axis([point("a", accuracy=0.5, bytes=1.0)]) == "bytes"
    assert usual_axis([point("a", drop=0.1, bytes=1.0)]) == "drop"
    assert usual_axis([point("a", drop=0.1, labels=0.5), point("b", ssim=0.5)]) == "ssim"
    axes = axes_of([], "drop", None, "accuracy, ssim,bytes")
    assert (axes.x.name, axes.y.name, [one.name for one in axes.front]) == (
        "drop",
        "accuracy",
        ["accuracy", "ssim", "bytes"],
    )
    with pytest.raises(ScenarioError, match="--front knows no measure 'byte'; did you mean 'bytes'"):
        axes_of([], None, None, "accuracy,byte")


def test_only_what_goes_by_messages_of_training_is_asked_of_a_round() -> None:
    frontier = Frontier(toy(SplitFedV2()), ["V1"], {"none": None}, round=2, samples=5, auxiliary=7, queries=9)
    in_round = [ClusterLabels(channel="cut_gradients"), Sdar(by_label=True)]
    for attack in (QueryDecoder(), CutGradientMembership(), *in_round):
        setup = setup_for(frontier, attack)
        assert setup.round == (2 if attack in in_round else None)
        assert (setup.samples, setup.auxiliary, setup.queries) == (5, 7, 9)
