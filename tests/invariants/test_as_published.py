"""``as_published``: that every difference of docs/as-published.md is really there, and is just what the authors' code
does."""

import numpy as np
import pytest
import torch

from raysplit.aggregation.rules.median import Median
from raysplit.engine.placement import Resources, Wanted, lay_out
from raysplit.errors import ClusterError, ScenarioError
from raysplit.population.selection.cohort import Cohort
from raysplit.protocols.as_published import portion_weights
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.split_learning import SplitLearning
from raysplit.protocols.split_steps import handover_order
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.scenario.layout import Layout
from raysplit.storage.checkpoints import read_checkpoint
from raysplit.training.optimizers import Adam
from raysplit.training.settings import FedOpt
from tests.invariants.authors_loop import authors_loop
from tests.toys import ToyCnn, distance, play, toy

THAPA = {
    "FL": FedAvg(as_published="thapa2022"),
    "SL": SplitLearning(as_published="thapa2022"),
    "V1": SplitFedV1(as_published="thapa2022"),
    "V2": SplitFedV2("client_major", as_published="thapa2022"),
}
EXACT = {"training__precision": "float64", "training__optimizer": Adam(eps=1e-4), "training__lr": 0.01}
"""A large ε: before BatchNorm the gradients of biases are rounding alone, of which Adam with a small one makes whole
steps."""


def scenario_of(kind, **changes):
    batch_norm = changes.pop("batch_norm", True)
    return toy(THAPA[kind], model=ToyCnn("V2", batch_norm=batch_norm), **{**EXACT, "training__rounds": 3, **changes})


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("cohort,epochs", [(6, 1), (6, 2), (3, 1), (4, 1)])
@pytest.mark.parametrize("kind", THAPA)
def test_thapa2022_is_the_authors_loop(kind, cohort, epochs, batch_norm):
    """With a part of the clients V1's replicas are averaged in the middle of some rounds, and in others not at all."""
    changes = {
        "cohort": Cohort(cohort),
        "training__local_epochs": epochs,
        "training__rounds": 8,
        "batch_norm": batch_norm,
    }
    scenario = scenario_of(kind, **changes)
    played, authors = play(scenario), authors_loop(scenario, kind, 4 if kind == "FL" else 2)
    assert distance(played.named, authors.model) < 1e-9
    for row, tests in zip(played.tables["evaluations"].to_pylist(), authors.tests, strict=True):
        assert row["clients"] == cohort
        sizes = scenario.population.open().test_sizes(np.array(sorted(tests)))
        assert row["loss"] == pytest.approx(sum(loss for loss, _ in tests.values()) / sizes.sum(), abs=1e-9)
        assert row["accuracy"] == pytest.approx(sum(correct for _, correct in tests.values()) / sizes.sum())
    if kind == "V1" and cohort == 6:
        assert authors.averaged == [1, 2, 3, 4, 5, 6, 7, 8]
    elif kind == "V1":
        assert 0 < len(authors.averaged) < 8


@pytest.mark.parametrize("kind", ["SL", "V1", "V2"])
def test_every_step_of_an_adam_made_anew_is_plus_or_minus_the_learning_rate(kind):
    """Five batches of one client: its server biases, which no dead ReLU keeps from their gradients, move by ±lr five
    times."""
    changes = {
        "training__optimizer": Adam(),
        "clients": 1,
        "training__rounds": 1,
        "training__batch_size": None,
        "training__local_epochs": 5,
    }
    published = play(scenario_of(kind, batch_norm=False, **changes))
    kept = play(toy(type(THAPA[kind])(), **{**EXACT, **changes}))
    for played, anew in ((published, True), (kept, False)):
        start = played.layout.named(played.layout.initial())
        steps = ((played.named["fc2.bias"] - start["fc2.bias"]) / 0.01).abs()
        nearest = 2 * ((steps - 1) / 2).round() + 1
        assert bool(((steps - nearest).abs() < 5e-3).all()) == anew, steps


def test_a_server_state_of_each_batch_is_a_choice_of_its_own():
    chosen = play(toy(SplitFedV2(), **EXACT, training__server_state="each_batch"))
    assert chosen.digest != play(toy(SplitFedV2(), **EXACT)).digest
    assert chosen.state.memory.get("server/optimizer", {}) == {}


def test_tests_in_training_see_the_portion_with_which_a_client_began():
    """In round 1 every client of FedAvg is tested on the untrained model, and so all rounds lag by one."""
    published = play(scenario_of("FL", evaluation__clients=None))
    plain = play(scenario_of("FL", evaluation__clients=None).replace(protocol=FedAvg()))
    untrained = [row["loss"] for row in published.tables["evaluations"].to_pylist()]
    assert untrained[0] > published.tables["evaluations"].to_pylist()[-1]["loss"]
    assert untrained != [row["loss"] for row in plain.tables["evaluations"].to_pylist()]


def test_replicas_that_outlive_a_round_are_in_the_checkpoint(tmp_path):
    scenario = scenario_of("V1", cohort=Cohort(2), training__rounds=6, checkpoint_every=1)
    whole, layout = play(scenario), Layout(scenario)
    seen = set()
    for stop in (1, 2, 3, 4):
        short = scenario.replace(**{"training.rounds": stop})
        play(short, folder=tmp_path / str(stop))
        state = read_checkpoint(tmp_path / str(stop) / "checkpoints" / f"round-{stop:06d}", layout, short.hash)
        seen.add(len(state.memory.get("server/replicas", {})))
        assert play(scenario, start=state).digest == whole.digest
    assert len(seen) > 1


def test_clients_of_slperf_never_learn_after_their_first_hand_over():
    changes = {"training__rounds": 3, "training__precision": "float64"}
    scenario = toy(SplitLearning(as_published="slperf", ring="fixed"), **changes)
    after = [play(scenario.replace(**{"training.rounds": rounds})).named for rounds in (1, 2, 3)]
    first = play(scenario.replace(**{"training.rounds": 1, "cohort": Cohort(1), "population.clients": 1}))
    for name in after[0]:
        client = name.startswith(("conv1", "conv2"))
        assert after[0][name].equal(after[1][name]) == client
        assert after[1][name].equal(after[2][name]) == client
        if client:
            assert after[0][name].equal(first.named[name]), "the first of the ring has learned, and nobody else"
    start = first.layout.named(first.layout.initial())
    assert distance(first.named, start) > 1e-3
    correct = play(toy(SplitLearning(ring="fixed"), **changes))
    assert distance(correct.named, after[2]) > 1e-3
    assert play(scenario).bytes_on(2) == correct.bytes_on(2)


def test_slperfs_mean_is_none():
    """reference/split-learning.md section 2: (1, 2, 3) → 1.333 and (5, 5, 5) → 4.44."""
    weights = portion_weights("last_aliased", np.ones(3, dtype=np.int64), last=2)
    assert weights @ [1, 2, 3] == pytest.approx(1.3333, abs=1e-4)
    assert weights @ [5, 5, 5] == pytest.approx(4.4444, abs=1e-4)
    assert portion_weights("last_aliased", np.array([7]), last=0).tolist() == [1.0]


def test_slperfs_mean_is_taken_of_the_portions():
    """One step of rate 0 leaves W alone; its 'mean' over six equal clients is (1 − 1/36) W."""
    changes = {"training__lr": 0.0, "training__server_lr": 0.0, "training__rounds": 1, "training__precision": "float64"}
    played = play(toy(SplitFedV2("client_major", as_published="slperf"), **changes))
    last = handover_order(SplitFedV2("client_major"), 42, 1, 6)[-1]
    sizes = [3 + 7 * k % 11 for k in range(6)]
    factor = 1 - (sizes[last] / sum(sizes)) ** 2
    start = played.layout.named(played.layout.initial())
    for name, tensor in played.named.items():
        expected = start[name] * (factor if name.startswith("conv") else 1)
        torch.testing.assert_close(tensor, expected, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("protocol", THAPA.values(), ids=THAPA)
def test_what_is_tested_in_training_runs_beside_its_server(protocol):
    scenario = toy(protocol)
    layout = lay_out(scenario, Resources(16, 0), Wanted())
    assert (layout.servers, layout.placement) == (0, "colocated")
    assert layout.hosts == (6 if protocol == THAPA["FL"] else 1)
    if protocol != THAPA["FL"]:
        with pytest.raises(ClusterError, match="as published tests clients while it trains"):
            lay_out(scenario, Resources(16, 0), Wanted(placement="pooled"))


@pytest.mark.parametrize(
    "make,sentence",
    [
        (lambda: SplitFedV2(as_published="thapa2022"), "trains one client after another; add order='client_major'"),
        (
            lambda: toy(SplitFedV1(u_shaped=True, as_published="thapa2022"), "V1", "fc1"),
            "the published code of SplitFedV1 has no U-shape",
        ),
        (
            lambda: toy(SplitFedV2("client_major", as_published="slperf"), defense=Median()),
            "leave defense and attack out",
        ),
        (lambda: toy(THAPA["V1"], training__aggregate=FedOpt()), "leave Training.aggregate None"),
    ],
)
def test_what_the_published_code_has_not_is_refused(make, sentence):
    with pytest.raises(ScenarioError, match=sentence):
        make()
