"""SplitFedV2 under poisoning, clean and attacked side by side, on the embedded population: what `make demo` runs.

3,550 synthetic writers (nothing to download), 100 drawn each round, 20 of them malicious, the network of Khan et al.
2022 cut at V2. Clients send their gradient; Adam steps on its trimmed mean at the fed server and, batch by batch, at
the main server. From round 13 the malicious clients send what the optimisation-based attack crafts instead. The
attacked run shares its first twelve rounds with the clean one.
"""

from raysplit import (
    Adam,
    AgrTailored,
    Cohort,
    Evaluation,
    FedOpt,
    Scenario,
    Sgd,
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
    cohort=Cohort(size=100, malicious=0.2, of="cohort"),
    training=Training(
        rounds=32,
        lr=1.0,
        optimizer=Sgd(),
        server_lr=0.001,
        server_optimizer=Adam(),
        aggregate=FedOpt(Adam(), lr=0.001),
    ),
    defense=TrimmedMean(),
    evaluation=Evaluation(every=2, clients=300),
    pixels="inverted",
    seed=42,
)

scenarios = grid(base, attack={"clean": None, "attacked": AgrTailored(perturbation="std", start_round=13)})
