"""SplitFedV2 under poisoning, clean and attacked side by side, on the embedded population: what `make demo` runs.

3,550 synthetic writers (no download), 100 drawn each round, 20 % of them malicious. The network of Khan et al. 2022 is cut at V3, where
clients hold nearly all of it, so that a few minutes on two cores show what the attack does. From round 9 the
malicious clients replace their updates by the optimisation-based attack; the fed server defends itself with a trimmed mean.
"""

from raysplit import (
    Adam,
    AgrTailored,
    Cohort,
    Evaluation,
    Scenario,
    SplitFedV2,
    Training,
    TrimmedMean,
    femnist_cnn,
    grid,
    synthetic_writers,
)

base = Scenario(
    name="quickstart",
    population=synthetic_writers(writers=3550),
    model=femnist_cnn(cut="V2"),
    protocol=SplitFedV2(order="interleaved"),
    cohort=Cohort(size=100, malicious=0.2),
    training=Training(rounds=20, lr=0.001, optimizer=Adam()),
    defense=TrimmedMean(),
    evaluation=Evaluation(clients=300),
    seed=42,
)

scenarios = grid(base, attack={"clean": None, "attacked": AgrTailored(perturbation="std", start_round=9)})
