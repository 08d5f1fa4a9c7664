"""Column shards change nothing: neither the model nor what the tables say, whatever the number of shards."""

from __future__ import annotations

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
    Composed,
    DivideAndConquer,
    Fang,
    FangKrum,
    FLTrust,
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
    NormClipping,
    OptimalInnerProductManipulation,
    OptimalLittleIsEnough,
    Scheduled,
    SignFlip,
    SignGuard,
    TrimmedMean,
)
from raysplit.aggregation.across import Across
from raysplit.engine.local import LocalEngine
from raysplit.protocols.buffered import BufferedSplitFed, Speeds
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.loss_drop import AsyncSplitFed
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.storage.schemas import SCHEMAS
from raysplit.training.optimizers import Adam
from raysplit.training.settings import FedOpt
from tests.toys import ToyCnn, play, toy

RULES = [
    Mean(),
    TrimmedMean(),
    Median("midpoint"),
    MeanAroundMedian(),
    Krum(),
    MultiKrum(),
    Bulyan(),
    GeometricMedian(),
    CentredClipping(start="previous"),
    NormClipping(noise=0.01),
    DivideAndConquer(columns=50),
    SignGuard(),
    FLAME(angles="models"),
    FLTrust((3,)),
    CRFL(1.0, Median()),
    Composed((NearestNeighbourMixing(),), TrimmedMean()),
    Composed((AdaptiveRobustClipping(), Bucketing(2)), GeometricMedian()),
]
ATTACKS = [
    AgrTailored(),
    AgrTailored(perturbation="sign", certify=False),
    AgrTailored(perturbation="unit", gamma="ndss21"),
    AgrTailored(gamma="stealth", reference="all_honest"),
    AgrTailored(knowledge="partial"),
    Fang(),
    Fang(knowledge="partial"),
    FangKrum(),
    FangKrum(knowledge="partial"),
    GaussianNoise(0.1),
    InnerProductManipulation(0.5),
    LittleIsEnough(1.5),
    Mimic(),
    MinMax(),
    MinMax("unit"),
    MinSum(),
    ModelReplacement(LittleIsEnough(1.0)),
    OptimalInnerProductManipulation(evaluations=4),
    OptimalLittleIsEnough(evaluations=4),
    Scheduled(SignFlip(3.0), start_round=2),
]


def assert_same(scenario, shards):
    reference = play(scenario)
    with LocalEngine(scenario, shards=shards) as engine:
        assert engine.describe()["shards"] == shards
        played = play(scenario, engine)
    assert played.digest == reference.digest
    for name, schema in SCHEMAS.items():
        certain = [field.name for field in schema if (field.metadata or {}).get(b"deterministic") != b"false"]
        rows, same = (played_in.tables[name].select(certain).to_pylist() for played_in in (played, reference))
        assert repr(rows) == repr(same), name  # NaN stands where no update came
    for name, kept in reference.state.memory.get("fed/rule/updates", {}).items():
        assert played.state.memory.get("fed/rule/updates", {})[name].equal(kept)
    return reference


def attacked(protocol, rule, attack, **changes):
    # whole weights of a network with 301 parameters: shards of 75 or 18 columns
    return toy(protocol, None, clients=11, cohort__malicious=0.2, defense=rule, attack=attack, **changes)


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_rules(rule):
    assert_same(attacked(FedAvg(), rule, LittleIsEnough(1.0)), 4)


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
def test_attacks(attack):
    rule = Mean() if isinstance(attack, Scheduled | GaussianNoise) else TrimmedMean()
    reference = assert_same(attacked(FedAvg(), rule, attack), 4)
    assert reference.tables["attacks"].num_rows


@pytest.mark.parametrize("rule", [Krum(), MultiKrum(), Bulyan()], ids=repr)
def test_attacks_on_selecting_rules(rule):
    assert_same(attacked(FedAvg(), rule, AgrTailored()), 3)
    assert_same(attacked(FedAvg(), rule, FangKrum()), 3)


@pytest.mark.parametrize("shards", [2, 3, 5, 16])
def test_any_number_of_shards(shards):
    assert_same(attacked(FedAvg(), Median(), AgrTailored()), shards)


def test_buffers_optimisers_and_float64():
    rounds = {"training__aggregate": FedOpt(Adam(), 0.01), "training__precision": "float64"}
    model = ToyCnn("V2", batch_norm=True)
    assert_same(attacked(SplitFedV1(), Median(), MinMax(), model=model, **rounds), 4)


@pytest.mark.parametrize(
    "protocol",
    [SplitFedV1(), SplitFedV2(), AsyncSplitFed(0.05), BufferedSplitFed(6, speeds=Speeds(1.0))],
    ids=repr,
)
def test_protocols_that_average(protocol):
    assert_same(toy(protocol, "V2", clients=11, defense=TrimmedMean(1), training__rounds=3), 4)


def test_shards_that_are_not_asked_change_nothing(monkeypatch):
    """The comparison above can fail: a shard that draws by its own columns alone is seen."""

    monkeypatch.setattr(
        Across,
        "normal",
        lambda self, draw, rows, width: torch.from_numpy(draw.standard_normal((rows, width), dtype="f4")),
    )
    with pytest.raises(AssertionError):
        assert_same(attacked(FedAvg(), Mean(), GaussianNoise(0.1)), 4)
