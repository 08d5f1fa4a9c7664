"""A table of twelve scenarios in miniature: two protocols, two shares of malicious clients, rules and attacks that
start in round 4."""

TINY = """\
from raysplit import *

CELLS = {
    "mean-clean": (0.25, Mean(), None),
    "mean-sign": (0.25, Mean(), SignFlip(start_round=4)),
    "median-clean": (0.25, StartAtRound(Median(), start_round=4), None),
    "median-sign": (0.25, StartAtRound(Median(), start_round=4), SignFlip(start_round=4)),
    "median-late": (0.25, StartAtRound(Median(), start_round=4), SignFlip(start_round=5)),
    "more-clean": (0.5, StartAtRound(Median(), start_round=4), None),
    "more-sign": (0.5, StartAtRound(Median(), start_round=4), SignFlip(start_round=4)),
}
scenarios = [
    Scenario(
        name=f"{split}-{name}",
        population=synthetic_writers(writers=20, mean_samples=20, sd_samples=5),
        model=femnist_cnn(cut="V2"),
        protocol=protocol,
        cohort=Cohort(size=4, malicious=malicious, of=of, dropouts=Dropouts(0.2)),
        training=Training(rounds=5, lr=0.05, server_lr=0.01, server_optimizer=Adam(), aggregate=FedOpt(Adam(), lr=0.01)),
        attack=attack,
        defense=defense,
        evaluation=Evaluation(every=2, clients=5),
        seed=3,  # somebody malicious takes part in rounds 4 and 5 under either share
    )
    for split, protocol, of in [("V2", SplitFedV2(), "population"), ("FL", FedAvg(), "cohort")]
    for name, (malicious, defense, attack) in CELLS.items()
]
"""
