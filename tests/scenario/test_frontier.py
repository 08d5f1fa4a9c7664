"""A frontier's scenarios: which there are, and which cannot be."""

from __future__ import annotations

import pytest

from raysplit import (
    AdditiveNoise,
    Frontier,
    OnServerReplicas,
    PerExampleClipping,
    Quantisation,
    SignFlip,
    SplitFedV1,
    SplitFedV2,
    TrimmedMean,
)
from raysplit.errors import ScenarioError
from raysplit.scenario.frontier import changes_of
from tests.toys import toy

BASE = toy(SplitFedV2(), cohort__malicious=0.34)


def test_every_cut_meets_every_defence_clean_and_poisoned() -> None:
    poison = SignFlip(start_round=2)
    frontier = Frontier(BASE, ["V1", "V2"], {"none": None, "noise 0.5": AdditiveNoise(0.5)}, poison=poison)
    names = ["V1-none", "V1-noise_0.5", "V2-none", "V2-noise_0.5"]
    assert [one.name for one in frontier.scenarios] == [f"toy-{n}{end}" for n in names for end in ("", "-poisoned")]
    for point in frontier.points:
        assert point.clean is not None and point.attacked is not None
        assert point.clean.model.cut == point.cut and point.clean.attack is None
        assert point.attacked.replace(attack=None, name=point.name) == point.clean and point.attacked.attack == poison
        assert point.clean.message_defenses == (() if point.defense == "none" else (AdditiveNoise(0.5),))
    assert frontier.points[2].clean == BASE.replace(name="toy-V2-none")


def test_a_part_goes_where_it_belongs_in_a_scenario() -> None:
    noise, bits, rule = AdditiveNoise(0.5), Quantisation(4), TrimmedMean()
    assert changes_of("both", (noise, bits, rule)) == {"message_defenses": (noise, bits), "defense": rule}
    private = PerExampleClipping(max_norm=1.0, noise_multiplier=1.0)
    assert changes_of("private", private) == {"privacy": private}
    assert changes_of("other", {"protocol": SplitFedV1(), "training.lr": 0.1}) == {
        "protocol": SplitFedV1(),
        "training.lr": 0.1,
    }
    with pytest.raises(ScenarioError, match="two parts for Scenario"):
        changes_of("rules", (rule, rule))


def test_a_defence_that_is_impossible_at_a_cut_is_a_hole_there_alone() -> None:
    tail = {"protocol": SplitFedV2(u_shaped=True), "model.tail": "fc1"}
    frontier = Frontier(BASE, ["V1", "V3"], {"none": None, "tail": tail}, poison=SignFlip(start_round=2))
    assert [bool(point.clean) for point in frontier.points] == [True, True, True, False]
    assert frontier.points[3].why and len(frontier.scenarios) == 6
    with pytest.raises(ScenarioError, match="the defence 'tail' of the frontier is refused everywhere"):
        Frontier(BASE, ["V3"], {"none": None, "tail": tail})


def test_a_poison_that_one_point_refuses_leaves_it_without_a_drop() -> None:
    base, poison = BASE.replace(protocol=SplitFedV1()), OnServerReplicas(SignFlip(start_round=2))
    frontier = Frontier(base, ["V1"], {"replicas": None, "shared": {"protocol": SplitFedV2()}}, poison=poison)
    replicas, shared = frontier.points
    assert replicas.attacked is not None and shared.clean is not None
    assert shared.attacked is None and "SplitFedV2" in shared.why_attacked
    with pytest.raises(ScenarioError, match="poison is refused everywhere"):
        Frontier(BASE, ["V1"], {"shared": None}, poison=poison)
