"""On real handwriting (LEAF's json of 212 writers): the settings of scenarios/khan2022 learn."""

import pytest

from raysplit import (
    Adam,
    Cohort,
    Evaluation,
    FedAvg,
    FedOpt,
    Scenario,
    Sgd,
    SplitFedV2,
    Training,
    TrimmedMean,
    femnist_cnn,
)
from tests.toys import play


def scenario(real_femnist, protocol, rounds, **changes):
    training = Training(
        rounds=rounds,
        lr=1.0,
        optimizer=Sgd(),
        server_lr=0.001,
        server_optimizer=Adam(),
        aggregate=FedOpt(Adam(), lr=0.001),
    )
    return Scenario(
        name="real",
        population=real_femnist,
        model=femnist_cnn(cut="V1"),
        protocol=protocol,
        cohort=Cohort(size=50, malicious=0.2, of="cohort"),
        training=training,
        evaluation=Evaluation(every=rounds, clients=None),
        pixels="inverted",
        **changes,
    )


@pytest.mark.slow
def test_splitfed_v2_with_trimmed_mean_learns_real_handwriting(real_femnist):
    played = play(scenario(real_femnist, SplitFedV2(), rounds=5, defense=TrimmedMean()))
    (row,) = played.tables["evaluations"].to_pylist()
    assert row["samples"] == 3358
    assert row["accuracy"] > 0.45  # 62 classes; the most frequent one alone gives 7 %


@pytest.mark.slow
def test_fedavg_lowers_its_loss_on_real_handwriting(real_femnist):
    played = play(scenario(real_femnist, FedAvg(), rounds=6))
    losses = [row["train_loss"] for row in played.tables["rounds"].to_pylist()]
    assert losses[-1] < 0.95 * losses[0]
