"""Poisoned training data on real digits: `raysplit run scenarios/backdoors.py`, with MNIST prepared (`raysplit data
prepare mnist`).

1,500 MNIST digits dealt evenly to 20 clients, a small network cut after its convolution, 20 rounds; attacks from round
11 on, so the rounds before tell how often each goal is reached by chance. The table says how accurate the model is and
how often the backdoor opens (ASR). Norm clipping stands beside the mean. docs/threat-models.md has the measured table.
"""

from torch import nn

from raysplit import (
    FLAME,
    Cohort,
    CompositeAttack,
    DistributedBackdoor,
    Evaluation,
    FedAvg,
    Iid,
    LabelFlip,
    Mean,
    ModelReplacement,
    Neurotoxin,
    NormClipping,
    PixelBackdoor,
    Scenario,
    Sgd,
    SplitFedV2,
    TargetedLabelFlip,
    Training,
    grid,
    mnist,
    partitioned,
    sequential,
    subset,
)


def small_cnn() -> list[tuple[str, nn.Module]]:
    return [
        ("conv", nn.Sequential(nn.Conv2d(1, 8, 5, stride=2), nn.MaxPool2d(2), nn.ReLU())),
        ("fc1", nn.Sequential(nn.Flatten(), nn.Linear(288, 32), nn.ReLU())),
        ("fc2", nn.Linear(32, 10)),
    ]


base = Scenario(
    name="backdoors",
    population=partitioned(subset(mnist(), 1500, 500), Iid(), clients=20),
    model=sequential(small_cnn, (1, 28, 28), classes=10, cut="conv"),
    protocol=FedAvg(),
    cohort=Cohort(size=20, malicious=0.2),
    training=Training(rounds=20, lr=0.1, server_lr=0.01, batch_size=10, optimizer=Sgd(momentum=0.9)),
    evaluation=Evaluation(every=5, clients=None),
)

scenarios = [
    *grid(
        base,
        protocol={"fl": FedAvg(), "sflv2": SplitFedV2()},
        attack={
            "clean": None,
            "flip": LabelFlip(start_round=11),
            "1to7": TargetedLabelFlip(source=1, target=7, start_round=11),
            "pixel": PixelBackdoor(target=0, start_round=11),
            "dba": DistributedBackdoor(target=0, start_round=11),
        },
    ),
    *grid(
        base,
        attack={
            "replaced": CompositeAttack((PixelBackdoor(target=0, start_round=11), ModelReplacement(start_round=11))),
            "neurotoxin": CompositeAttack((PixelBackdoor(target=0, start_round=11), Neurotoxin(start_round=11))),
        },
        defense={"mean": Mean(), "clipped": NormClipping(), "flame": FLAME()},
    ),
]
