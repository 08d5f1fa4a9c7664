"""Every exported aggregation rule and update attack plays whole rounds through the fed server, not only on made-up
matrices."""

import math

import pytest
import torch

from raysplit import (
    CRFL,
    FLAME,
    AdaptiveRobustClipping,
    AgrTailored,
    Bucketing,
    Bulyan,
    CentredClipping,
    Clipping,
    Cohort,
    Composed,
    DivideAndConquer,
    Fang,
    FangKrum,
    FLTrust,
    FoolsGold,
    GaussianNoise,
    GeometricMedian,
    InnerProductManipulation,
    Krum,
    LittleIsEnough,
    Mean,
    MeanAroundMedian,
    Median,
    Mimic,
    MinMax,
    MinSum,
    ModelReplacement,
    MultiKrum,
    NearestNeighbourMixing,
    Neurotoxin,
    NormClipping,
    OptimalInnerProductManipulation,
    OptimalLittleIsEnough,
    Scheduled,
    SignFlip,
    SignGuard,
    SplitFedV1,
    SplitFedV2,
    TrimmedMean,
)
from tests.toys import play, toy

RULES = [
    Mean(),
    TrimmedMean(),
    TrimmedMean(f="assumed"),
    Median(),
    Median(even="midpoint"),
    MeanAroundMedian(),
    Krum(),
    MultiKrum(),
    Bulyan(),
    GeometricMedian(),
    CentredClipping(),
    NormClipping(),
    Composed(pre=(NearestNeighbourMixing(),), rule=TrimmedMean()),
    Composed(pre=(Bucketing(size=2),), rule=Median()),
    Composed(pre=(AdaptiveRobustClipping(), NearestNeighbourMixing()), rule=TrimmedMean()),
    Composed(pre=(Clipping(),), rule=Mean()),
    DivideAndConquer(),
    FLTrust(roots=(3,)),
    FoolsGold(),
    SignGuard(),
    FLAME(),
    CRFL(bound=20.0),
]
ATTACKS = [
    AgrTailored(gamma=5.0),
    LittleIsEnough(),
    MinMax(),
    MinSum(),
    InnerProductManipulation(),
    SignFlip(),
    GaussianNoise(),
    Fang(),
    FangKrum(),
    Mimic(),
    ModelReplacement(),
    Neurotoxin(keep=0.5),
    OptimalLittleIsEnough(),
    OptimalInnerProductManipulation(),
    AgrTailored(gamma="stealth"),
]


def scenario(protocol, **changes):
    cohort = Cohort(size=12, malicious=0.17, of="cohort")  # 2 of 12: Bulyan needs 4·2 + 3 = 11
    return toy(protocol, clients=12, cohort=cohort, **changes)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_every_rule_aggregates_a_run_under_attack_and_says_what_it_did(rule):
    played = play(scenario(SplitFedV2(), defense=rule, attack=SignFlip(start_round=2)))
    rows = played.tables["aggregation"].to_pylist()
    assert [row["rule"] for row in rows] == [type(rule).__name__] * 2
    assert not played.diverged and bool(torch.isfinite(played.state.client).all())
    assert math.isfinite(rows[1]["bias"]) and rows[1]["actual"] == 2
    assert [row["m"] for row in played.tables["attacks"].to_pylist()] == [2]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: type(attack).__name__)
def test_every_attack_changes_the_run_from_its_start_round_on(attack):
    clean = play(scenario(SplitFedV1(), defense=TrimmedMean()))
    attacked = play(scenario(SplitFedV1(), defense=TrimmedMean(), attack=attack))
    assert attacked.digest != clean.digest
    assert [row["attack"] for row in attacked.tables["attacks"].to_pylist()] == [type(attack).__name__] * 2


@pytest.mark.parametrize("rule", [Krum(), MultiKrum(), Bulyan()], ids=repr)
def test_an_attack_tailored_to_a_selecting_rule_is_selected(rule):
    played = play(scenario(SplitFedV1(), defense=rule, attack=Scheduled(AgrTailored(), start_round=2)))
    rows = [row for row in played.tables["aggregation"].to_pylist() if row["portion"] == "client"]
    assert rows[1]["selected_malicious"] == (1 if isinstance(rule, Krum) else 2)
    [row] = played.tables["attacks"].to_pylist()
    assert row["attack"] == "AgrTailored" and row["gamma"] > 0
