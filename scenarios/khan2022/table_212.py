"""Attacks x defences for SplitFedV2 cut at V2 and at V3 and for FL, on the 212 real writers: Khan et al.'s tables,
filled out.

    RAYSPLIT_DATA=FOLDER raysplit sweep scenarios/khan2022/table_212.py --engine local --jobs 2

The setting is femnist_212.py's with 50 writers a round, 10 of them malicious. Each split trains under the mean until it
has nearly levelled off (FL has not); then the server turns its rule on and the malicious clients lie, both in the same
round, so that those first rounds are one for the whole table of a split and are trained once. Khan et al.'s attack is
AgrTailored. It has no closed form against the geometric median and after mixing; there OptimalLittleIsEnough searches
along the same standard deviation. Figures: docs/papers/khan2022.md.
"""

from raysplit import (
    Adam,
    AgrTailored,
    Cohort,
    Composed,
    Evaluation,
    Fang,
    FedAvg,
    FedOpt,
    GeometricMedian,
    LittleIsEnough,
    Mean,
    Median,
    MinMax,
    MultiKrum,
    NearestNeighbourMixing,
    OptimalLittleIsEnough,
    Scenario,
    Sgd,
    SignFlip,
    SplitFedV2,
    StartAtRound,
    Training,
    TrimmedMean,
    femnist,
    femnist_cnn,
)
from raysplit.contracts import AggregationRule, Attack, TrainingProtocol

CLEAN_ROUNDS = {"V2": 26, "V3": 50, "FL": 60}
ATTACKED_ROUNDS = 10

SPLITS: dict[str, tuple[TrainingProtocol, str]] = {
    "V2": (SplitFedV2(order="interleaved"), "V2"),
    "V3": (SplitFedV2(order="interleaved"), "V3"),
    "FL": (FedAvg(), "V2"),  # the cut means nothing there
}
RULES: dict[str, AggregationRule] = {
    "mean": Mean(),
    "trmean": TrimmedMean(f="actual"),
    "median": Median(even="lower"),
    "multikrum": MultiKrum(),
    "geomedian": GeometricMedian(),
    "nnm_trmean": Composed(pre=(NearestNeighbourMixing(),), rule=TrimmedMean(f="actual")),
}
SEARCHED = ("geomedian", "nnm_trmean")


def attacks(rule: str, start: int) -> dict[str, Attack | None]:
    """Every attack on a rule, from a round on."""
    tailored = OptimalLittleIsEnough(start_round=start) if rule in SEARCHED else AgrTailored(start_round=start)
    return {
        "clean": None,
        "tailored": tailored,
        "minmax": MinMax(start_round=start),
        "lie": LittleIsEnough(start_round=start),
        "fang": Fang(start_round=start),
        "signflip": SignFlip(start_round=start),
    }


scenarios = [
    Scenario(
        name=f"table212-{split}-{rule}-{kind}",
        population=femnist(),
        model=femnist_cnn(cut=cut),
        protocol=protocol,
        cohort=Cohort(size=50, malicious=0.2, of="cohort"),
        training=Training(
            rounds=CLEAN_ROUNDS[split] + ATTACKED_ROUNDS,
            lr=1.0,
            optimizer=Sgd(),
            server_lr=0.001,
            server_optimizer=Adam(),
            aggregate=FedOpt(Adam(), lr=0.001),
        ),
        attack=attack,
        defense=RULES[rule] if rule == "mean" else StartAtRound(RULES[rule], start_round=CLEAN_ROUNDS[split] + 1),
        evaluation=Evaluation(every=2, clients=None),
        pixels="inverted",
        seed=42,
    )
    for split, (protocol, cut) in SPLITS.items()
    for rule in RULES
    for kind, attack in attacks(rule, CLEAN_ROUNDS[split] + 1).items()
]
