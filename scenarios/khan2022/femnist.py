"""Khan et al. 2022, Tables 1 and 2, FEMNIST rows: FL and SplitFed cut at V1-V3, trimmed mean and median, clean and
attacked.

From the paper: 3,550 writers, 100 a round, 20 of them malicious, a client's whole set as one batch, the two-convolution
network, lr 0.001, seed 42, std perturbation, poisoning "after several training rounds without poisoning". Guesses,
because the paper is silent: the optimiser (clients send the gradient of one pass, Adam with the paper's lr 0.001 steps
on the aggregate and at the main server, as the NDSS'21 FEMNIST code of the same authors does in FL), the number of
rounds, the round in which poisoning starts, the interleaved order of SplitFedV2, and ink as 1 on background 0. See
docs/papers/khan2022.md.

`raysplit data prepare femnist` first; each attacked scenario shares the rounds before the attack with its clean twin.
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

ROUNDS = 1000
START = 501

RULES: dict[str, AggregationRule] = {"trmean": TrimmedMean(f="actual"), "median": Median(even="lower")}
SPLITS = {"FL": None, "V1": "V1", "V2": "V2", "V3": "V3"}

scenarios = [
    Scenario(
        name=f"khan-femnist-{split}-{rule}-{kind}",
        population=femnist(),
        model=femnist_cnn(cut=cut or "V2"),
        protocol=FedAvg() if cut is None else SplitFedV2(order="interleaved"),
        cohort=Cohort(size=100, malicious=0.2, of="cohort"),
        training=Training(
            rounds=ROUNDS,
            lr=1.0,
            optimizer=Sgd(),
            server_lr=0.001,
            server_optimizer=Adam(),
            aggregate=FedOpt(Adam(), lr=0.001),
        ),
        attack=attack,
        defense=RULES[rule],
        evaluation=Evaluation(every=10, clients=None),
        pixels="inverted",
        seed=42,
    )
    for rule in RULES
    for split, cut in SPLITS.items()
    for kind, attack in {"clean": None, "attacked": AgrTailored(perturbation="std", start_round=START)}.items()
]
