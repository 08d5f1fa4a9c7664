"""Khan et al. 2022, Figure 4, on the 212 real writers: the drop by share of malicious clients, a line a cut, FL dashed.

    RAYSPLIT_DATA=FOLDER raysplit sweep scenarios/khan2022/figure4_212.py --engine local --jobs 2

The setting is table_212.py's: 50 writers a round, trimmed mean (it cuts as many as there are malicious), Khan et al.'s
attack. All shares of a split have the rounds before the attack in common. Where nobody is malicious the trimmed mean is
the mean and the drop is 0. Figures: docs/papers/khan2022.md.
"""

from raysplit import (
    Adam,
    AgrTailored,
    Cohort,
    Evaluation,
    FedAvg,
    FedOpt,
    Scenario,
    Sgd,
    SplitFedV2,
    StartAtRound,
    Training,
    TrimmedMean,
    femnist,
    femnist_cnn,
)
from raysplit.contracts import TrainingProtocol

CLEAN_ROUNDS = {"V2": 26, "V3": 50, "FL": 60}
ATTACKED_ROUNDS = 10
PERCENT = (0, 5, 10, 15, 20, 25, 30)

SPLITS: dict[str, tuple[TrainingProtocol, str]] = {
    "V2": (SplitFedV2(order="interleaved"), "V2"),
    "V3": (SplitFedV2(order="interleaved"), "V3"),
    "FL": (FedAvg(), "V2"),  # the cut means nothing there
}


scenarios = [
    Scenario(
        name=f"figure4-{split}-{percent:02d}-{kind}",
        population=femnist(),
        model=femnist_cnn(cut=cut),
        protocol=protocol,
        cohort=Cohort(size=50, malicious=percent / 100, of="cohort"),
        training=Training(
            rounds=CLEAN_ROUNDS[split] + ATTACKED_ROUNDS,
            lr=1.0,
            optimizer=Sgd(),
            server_lr=0.001,
            server_optimizer=Adam(),
            aggregate=FedOpt(Adam(), lr=0.001),
        ),
        attack=attack,
        defense=StartAtRound(TrimmedMean(f="actual"), start_round=CLEAN_ROUNDS[split] + 1),
        evaluation=Evaluation(every=2, clients=None),
        pixels="inverted",
        seed=42,
    )
    for split, (protocol, cut) in SPLITS.items()
    for percent in PERCENT
    for kind, attack in {"clean": None, "attacked": AgrTailored(start_round=CLEAN_ROUNDS[split] + 1)}.items()
    if percent or attack is None
]
