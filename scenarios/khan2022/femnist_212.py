"""The experiment of femnist.py at a size that two cores finish: the real writers that a test machine has (212), fewer
rounds.

RAYSPLIT_DATA=FOLDER raysplit data prepare femnist --from LEAF_JSON, then RAYSPLIT_DATA=FOLDER raysplit run this file.
Each split trains until it has nearly levelled off and is then attacked for 20 rounds, so that drops compare like with
like; FL needs most rounds, because its trimmed mean discards what only a few writers know. Figures:
docs/papers/khan2022.md.
"""

from raysplit import (
    Adam,
    AgrTailored,
    Cohort,
    Evaluation,
    FedAvg,
    FedOpt,
    Median,
    Scenario,
    Sgd,
    SplitFedV2,
    Training,
    TrimmedMean,
    femnist,
    femnist_cnn,
)
from raysplit.contracts import AggregationRule

CLEAN_ROUNDS = {"FL": 100, "V3": 50, "V2": 25, "V1": 25}
ATTACKED_ROUNDS = 20

RULES: dict[str, AggregationRule] = {"trmean": TrimmedMean(f="actual"), "median": Median(even="lower")}
SPLITS = {"V3": "V3", "V2": "V2", "V1": "V1", "FL": None}

scenarios = [
    Scenario(
        name=f"khan-femnist212-{split}-{rule}-{kind}",
        population=femnist(),
        model=femnist_cnn(cut=cut or "V2"),
        protocol=FedAvg() if cut is None else SplitFedV2(order="interleaved"),
        cohort=Cohort(size=100, malicious=0.2, of="cohort"),
        training=Training(
            rounds=CLEAN_ROUNDS[split] + ATTACKED_ROUNDS,
            lr=1.0,
            optimizer=Sgd(),
            server_lr=0.001,
            server_optimizer=Adam(),
            aggregate=FedOpt(Adam(), lr=0.001),
        ),
        attack=attack,
        defense=RULES[rule],
        evaluation=Evaluation(every=5, clients=None),
        pixels="inverted",
        seed=42,
    )
    for rule in RULES
    for split, cut in SPLITS.items()
    for kind, attack in {
        "clean": None,
        "attacked": AgrTailored(perturbation="std", start_round=CLEAN_ROUNDS[split] + 1),
    }.items()
]
