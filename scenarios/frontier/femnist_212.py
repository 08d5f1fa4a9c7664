"""Which cut under which defence? Accuracy, leakage, robustness and bytes on the 212 real writers.

    RAYSPLIT_DATA=FOLDER raysplit frontier scenarios/frontier/femnist_212.py --engine local --jobs 2

The setting is khan2022/femnist_212.py's, with 20 writers a round, 4 of them malicious, and 32 rounds. Leakage is what the
stronger of two inversions finds of 30 test images: a decoder that is trained on 1,000 answers of the defended client
portion to auxiliary images, and an optimisation with the true client portion. Under attack the malicious clients play
AgrTailored in the last eight rounds, which fork from the clean run. The network is femnist_cnn layer by layer, so that it
can be cut before the second pooling as well: C2, between V1 and V2. About half an hour on one core.
"""

from torch import nn

from raysplit import (
    Adam,
    AdditiveNoise,
    AgrTailored,
    Cohort,
    DecoderTraining,
    Evaluation,
    FedOpt,
    Frontier,
    NoPeek,
    Quantisation,
    QueryDecoder,
    Scenario,
    Sgd,
    SmashedDropout,
    SplitFedV2,
    TopK,
    Training,
    TrimmedMean,
    WhiteBoxInversion,
    femnist,
    sequential,
)

CLEAN_ROUNDS, ATTACKED_ROUNDS = 24, 8


def layers() -> list[tuple[str, nn.Module]]:
    """femnist_cnn's, with the second pooling apart."""
    return [
        ("conv1", nn.Sequential(nn.Conv2d(1, 16, 5, padding=2), nn.MaxPool2d(2), nn.ReLU())),
        ("conv2", nn.Conv2d(16, 32, 5, padding=2)),
        ("pool2", nn.Sequential(nn.MaxPool2d(2), nn.ReLU())),
        ("fc1", nn.Sequential(nn.Flatten(), nn.Linear(32 * 7 * 7, 512), nn.ReLU())),
        ("fc2", nn.Linear(512, 62)),
    ]


frontier = Frontier(
    base=Scenario(
        name="frontier212",
        population=femnist(),
        model=sequential(
            layers, (1, 28, 28), 62, cut="V1", cuts={"V1": "conv1", "C2": "conv2", "V2": "pool2", "V3": "fc1"}
        ),
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
        evaluation=Evaluation(every=16, clients=None),
        pixels="inverted",
        seed=42,
    ),
    cuts=["V1", "C2", "V2", "V3"],
    defenses={
        "none": None,
        "noise 0.5": AdditiveNoise(0.5),
        "dropout 0.5": SmashedDropout(0.5),
        "top-k 0.1": TopK(0.1),
        "2 bits": Quantisation(2),
        "NoPeek": NoPeek(2.0),
        "trimmed mean": TrimmedMean(),
    },
    attacks={
        "decoder": QueryDecoder(queries=1000, training=DecoderTraining(epochs=25, halve_every=5)),
        "white box": WhiteBoxInversion(steps=300),
    },
    poison=AgrTailored(start_round=CLEAN_ROUNDS + 1),
    samples=30,
)
