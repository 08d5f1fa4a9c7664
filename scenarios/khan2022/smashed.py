"""Khan et al.'s open question (section 6.1): what does perturbing smashed data do, beside attacks on updates, as the
cut moves?

Small, for two busy cores: the 212 real writers of femnist_212.py, cohorts of 20 with 4 malicious, 20 clean rounds and
10 attacked ones, one seed. RAYSPLIT_DATA=FOLDER raysplit run this file. Figures: docs/papers/khan2022.md.
"""

from raysplit import (
    Adam,
    AgrTailored,
    Cohort,
    CompositeAttack,
    Evaluation,
    FedOpt,
    Mean,
    Misalignment,
    Scenario,
    Scheduled,
    Sgd,
    SmashedTailored,
    SplitFedV2,
    Training,
    TrimmedMean,
    WireLabelFlip,
    femnist,
    femnist_cnn,
)
from raysplit.contracts import AggregationRule, Attack

CLEAN_ROUNDS, ATTACKED_ROUNDS = 20, 10


def from_then_on(attack: Attack) -> Scheduled:
    return Scheduled(attack, start_round=CLEAN_ROUNDS + 1, on=ATTACKED_ROUNDS)


RULES: dict[str, AggregationRule] = {"mean": Mean(), "trmean": TrimmedMean()}
ATTACKS: dict[str, Attack | None] = {
    "clean": None,
    "updates": from_then_on(AgrTailored()),
    "smashed": from_then_on(SmashedTailored(gamma=10.0)),
    "labels": from_then_on(WireLabelFlip()),
    "mirrored": from_then_on(Misalignment()),
    "both": CompositeAttack((from_then_on(AgrTailored()), from_then_on(SmashedTailored(gamma=10.0)))),
}

scenarios = [
    Scenario(
        name=f"khan-smashed-{cut}-{rule}-{kind}",
        population=femnist(),
        model=femnist_cnn(cut=cut),
        protocol=SplitFedV2(order="interleaved"),
        cohort=Cohort(size=20, malicious=0.2, of="cohort"),
        training=Training(
            rounds=CLEAN_ROUNDS + ATTACKED_ROUNDS,
            lr=1.0,
            optimizer=Sgd(),
            server_lr=0.001,
            server_optimizer=Adam(),
            aggregate=FedOpt(Adam(), lr=0.001),
        ),
        attack=attack,
        defense=defense,
        evaluation=Evaluation(every=5, clients=None),
        checkpoint_every=10,
        pixels="inverted",
        seed=42,
    )
    for rule, defense in RULES.items()
    for cut in ("V1", "V2", "V3")
    for kind, attack in ATTACKS.items()
]
