"""How often a backdoor through the cut works, in the evaluations table: against a count by hand, one client after
another."""

import numpy as np
import pytest
import torch

from raysplit import (
    Cohort,
    CompositeAttack,
    Evaluation,
    FedAvg,
    PixelBackdoor,
    SmashedBackdoor,
    SplitFedV1,
    SplitFedV2,
    SplitFedV3,
)
from raysplit.engine.host import Host
from raysplit.errors import ScenarioError
from tests.toys import play, toy

BACKDOOR = SmashedBackdoor(target=1, strength=20.0, start_round=2)


def scenario(protocol, attack=BACKDOOR, **changes):
    return toy(protocol, cohort=Cohort(6, 0.5), training__rounds=3, attack=attack, **changes)


def by_hand(experiment, head, body):
    """(successes, attempts, successes without the pattern): what each client of the toy population would be
    answered."""
    population, hits, tried, plain = experiment.population.open(), 0, 0, 0
    for client in range(population.info.clients):
        x, y = population.test(client)
        with torch.no_grad():
            z = head(x[y != 1].float() / 255)
            hits += int((body(BACKDOOR.triggered(z)).argmax(1) == 1).sum())
            plain += int((body(z).argmax(1) == 1).sum())
        tried += len(z)
    return hits, tried, plain


@pytest.mark.parametrize("protocol", [SplitFedV1(), SplitFedV2()], ids=repr)
def test_it_is_the_share_of_triggered_smashed_data_that_are_answered_with_the_target(protocol):
    experiment = scenario(protocol)
    played = play(experiment)
    host = Host(experiment)
    [client], [server] = host.client_slots(1), host.server_slots(1)
    client.flat.vector.copy_(played.state.client)
    server.flat.vector.copy_(played.state.server)
    rows = played.tables["evaluations"].to_pylist()
    hits, tried, plain = by_hand(experiment, client.head.eval(), server.body.eval())
    assert hits != plain, "or this test would not see whether the pattern is there"
    assert rows[-1]["attack_samples"] == tried > 0 and rows[-1]["attack_success"] == hits / tried
    assert [row["attack_samples"] for row in rows] == [tried] * 3, "from round 1 on"


def test_clients_with_portions_of_their_own_send_what_these_make():
    weaker = SmashedBackdoor(target=1, strength=5.0, start_round=2)
    experiment = scenario(SplitFedV3(), weaker).replace(**{"training.rounds": 4, "training.lr": 0.05})
    played = play(experiment)
    row = played.tables["evaluations"].to_pylist()[-1]
    host = Host(experiment)
    portions = played.state.client_portions
    assert portions
    scores = host.evaluate(np.arange(6), played.state.client, played.state.server, portions)
    plain = host.evaluate(np.arange(6), played.state.client, played.state.server)
    assert row["attack_samples"] == scores.attempts.sum() == plain.attempts.sum() > 0
    assert scores.successes.tolist() != plain.successes.tolist(), "or this test would not see whose portion it is"
    for client in range(6):
        alone = host.evaluate(np.array([client]), portions.get(client, played.state.client), played.state.server)
        assert (alone.successes[0], alone.attempts[0]) == (scores.successes[client], scores.attempts[client])


def test_joined_goals_add_up_and_each_is_tried_where_it_works():
    pixels = PixelBackdoor(target=2)
    measured = {
        kind: play(scenario(SplitFedV2(), None, evaluation=Evaluation(success_of=kind)))
        .tables["evaluations"]
        .to_pylist()[-1]
        for kind in (BACKDOOR, pixels, CompositeAttack((BACKDOOR, pixels)))
    }
    tried = [row["attack_samples"] for row in measured.values()]
    reached = [round(row["attack_success"] * row["attack_samples"]) for row in measured.values()]
    assert tried[2] == tried[0] + tried[1] and reached[2] == reached[0] + reached[1]


def test_a_clean_run_measures_it_and_trains_the_same():
    plain = play(scenario(SplitFedV2(), None))
    told = play(scenario(SplitFedV2(), None, evaluation=Evaluation(success_of=BACKDOOR)))
    assert all(torch.equal(told.named[name], tensor) for name, tensor in plain.named.items())
    assert told.tables["evaluations"].to_pylist()[-1]["attack_samples"] > 0


def test_it_cannot_be_measured_where_it_cannot_be_carried_out():
    with pytest.raises(ScenarioError, match="names the channel 'smashed', which FedAvg does not have"):
        scenario(FedAvg(), None, evaluation=Evaluation(success_of=BACKDOOR))
    with pytest.raises(ScenarioError, match=r"SmashedBackdoor.target is 62, but .* classes apart"):
        scenario(SplitFedV2(), SmashedBackdoor(target=62))
