"""Which ``server_step`` goes with which other answers, and in which order visits come."""

from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysplit.errors import ScenarioError
from raysplit.parts.part import part
from raysplit.population.selection.cohort import ParticipationSampler
from raysplit.protocols.batching import Batching
from raysplit.protocols.cycle_sl import CycleSfl
from raysplit.protocols.minibatch_sfl import MiniBatchSfl
from raysplit.protocols.protocol import TrainingProtocol
from raysplit.protocols.sglr import Sglr
from raysplit.protocols.split_learning import SplitLearning
from raysplit.protocols.split_steps import SplitStep, shared_split_steps
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.simulation.planning import make_plan
from raysplit.training.servers.batched_server import last_of_each_step, union_weights
from tests.toys import toy

STEPS = st.lists(st.integers(1, 5), min_size=1, max_size=8).map(np.array)


@part
class Odd(TrainingProtocol):
    """Answers that a user may give."""

    server_step: str
    server: str = "shared"
    client_sync: str = "averaging"
    order: str = "interleaved"
    u_shaped: bool = False

    client_state: ClassVar[str] = "fresh"
    server_state: ClassVar[str] = "fresh"


@pytest.mark.parametrize(
    "protocol,words",
    [
        (
            Odd("step", server="replicas"),
            r"Odd.server_step='step' needs one shared server portion that many clients use side by side",
        ),
        (
            Odd("server_first", client_sync="handover"),
            r"has server='shared' and client_sync='handover'; leave server_step out",
        ),
        (
            Odd("step", order="client_major"),
            r"takes everybody's batch before anybody's next, but Odd has order='client_major'",
        ),
        (Odd("mean_gradients", order="client_major"), r"use 'interleaved'"),
        (Odd("mean_gradients", u_shaped=True), r"needs the labels at the main server, but Odd is U-shaped"),
        (Odd("server_first", u_shaped=True), r"needs the labels at the main server, but Odd is U-shaped"),
        (Odd("sometimes"), r"Odd.server_step must be 'split_step' or .*'server_first', but it is 'sometimes'"),
    ],
    ids=repr,
)
def test_answers_that_do_not_go_together_are_refused(protocol, words):
    with pytest.raises(ScenarioError, match=words):
        toy(protocol, "V1", "fc1")


def test_answers_that_do_go_together_are_not():
    for protocol in (
        Odd("split_step", server="replicas", order="parallel"),
        Odd("round", order="client_major"),
        Odd("step", u_shaped=True),
    ):
        toy(protocol, "V1", "fc1")


@given(
    STEPS,
    st.sampled_from(
        [MiniBatchSfl(), SplitFedV1(reading="gradients"), Sglr(), CycleSfl(), SplitLearning(schedule="minibatch")]
    ),
)
def test_every_client_takes_every_step_once_and_nobody_the_next_before_all(steps, protocol):
    split_steps = shared_split_steps(protocol, 7, 3, steps)
    assert sorted(split_steps) == [SplitStep(p, s) for p in range(len(steps)) for s in range(steps[p])]
    assert [v.step for v in split_steps] == sorted(v.step for v in split_steps)
    if protocol.client_sync != "handover":
        assert split_steps == sorted(split_steps, key=lambda v: (v.step, v.position)), "sums are taken in cohort order"
    last = last_of_each_step(split_steps)
    assert sorted(v.step for v in last) == list(range(max(steps)))
    assert all(
        split_steps.index(v) + 1 == len(split_steps) or split_steps[split_steps.index(v) + 1].step == v.step + 1
        for v in last
    )


@given(st.integers(1, 60), st.one_of(st.none(), st.integers(1, 70)), st.integers(1, 3))
def test_the_length_of_a_batch_is_known_without_drawing_it(samples, size, epochs):
    for step in range(epochs * Batching(size).steps(samples)):
        chosen = Batching(size).indices(1, 1, 7, step, samples)
        assert Batching(size).length(samples, step) == (samples if chosen is None else len(chosen))


@pytest.mark.parametrize("batch", [None, 1, 4, 100])
def test_the_weights_of_a_step_add_up_to_one(batch):
    scenario = toy(MiniBatchSfl(), training__batch_size=batch, training__local_epochs=2)
    population = scenario.population.open()
    plan = make_plan(scenario, population, 1, ParticipationSampler(scenario.cohort, scenario.seed, population).of(1))
    weight = union_weights(plan)
    for step in range(int(plan.steps.max())):
        assert sum(weight(v) for v in plan.split_steps(scenario.protocol) if v.step == step) == pytest.approx(1)
