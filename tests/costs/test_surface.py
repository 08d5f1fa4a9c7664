"""The attack surface: numbers counted from sizes are those that a client really sends."""

import pytest

from raysplit.analysis.cuts.cuts import compare_cuts
from raysplit.analysis.report.cuts import surface_table
from raysplit.costs.surface import attack_surface
from raysplit.models.femnist_cnn import femnist_cnn
from raysplit.population.selection.cohort import ParticipationSampler
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.parallel_sl import ParallelSl
from raysplit.protocols.split_learning import SplitLearning
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.simulation.planning import make_plan
from tests.toys import ToyClients, play, toy


def surface_of(scenario):
    population = scenario.population.open()
    return attack_surface(
        scenario,
        make_plan(scenario, population, 1, ParticipationSampler(scenario.cohort, scenario.seed, population).of(1)),
    )


@pytest.mark.parametrize(
    ("protocol", "tail"),
    [
        (SplitFedV1(), None),
        (SplitFedV2(u_shaped=True), "fc1"),
        (SplitLearning("peer_to_peer"), None),
        (SplitLearning("peer_to_peer", schedule="minibatch"), None),
        (ParallelSl(), None),
        (FedAvg(), None),
    ],
    ids=repr,
)
@pytest.mark.parametrize("cut", ["V1", "V2"])
def test_it_is_what_clients_send(protocol, tail, cut):
    scenario = toy(protocol, cut, tail, training__local_epochs=2, training__client_state="fresh")
    played, surface = play(scenario), surface_of(scenario)
    floats = {channel: count / 4 / 6 for channel, count in played.bytes_on().items()}
    assert surface.updates == pytest.approx(floats.get("updates", 0) + floats.get("handover", 0))
    assert surface.smashed == pytest.approx(floats.get("smashed", 0))
    assert surface.feature_gradients == pytest.approx(floats.get("feature_gradients", 0))
    assert surface.labels == pytest.approx(played.label_bytes_on().get("smashed", 0) / 8 / 6)


def test_khans_network_shifts_its_surface_from_smashed_data_to_updates():
    """The numbers of docs/papers/khan2022.md, for a writer of 154 samples."""
    found = {}
    for cut in ("V1", "V2", "V3"):
        scenario = toy(
            SplitFedV2(),
            model=femnist_cnn(cut=cut),
            population=ToyClients(1, (1, 28, 28), smallest=154),
            cohort__size=1,
        )
        surface = surface_of(scenario)
        found[cut] = (surface.updates, surface.smashed, surface.labels)
    assert found == {
        "V1": (416, 154 * 3136, 154),
        "V2": (13_248, 154 * 1568, 154),
        "V3": (816_576, 154 * 512, 154),
    }


def test_cuts_shows_it():
    table = compare_cuts(toy(SplitFedV2()))
    assert [row.update_floats for row in table.cuts] == [30, 142, 261]
    assert table.cuts[0].smashed_floats == 48 * table.cuts[0].labels
    assert surface_table(table).row_count == 3
    assert all({"update_floats", "smashed_floats", "labels"} <= row.keys() for row in table.to_json()["cuts"])
