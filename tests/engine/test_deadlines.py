"""Deadlines are measured, and who hangs is told from who is slow or waits, without Ray."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.exceptions import ObjectStoreFullError, OutOfDiskError

from raysplit.engine.activity import Activity, Doing
from raysplit.engine.ray.calls import Hung, stuck
from raysplit.engine.ray.deadlines import FACTOR, FIRST_S, FLOOR_S, Deadlines
from raysplit.engine.ray.replay import RETRIES, replayed
from raysplit.errors import ClusterError, RunError
from raysplit.training.failures import ClientMistake


def doing(taken=1, waits=False, client=None, place="net.py:3, in forward"):
    return Doing(taken, waits, 2, client, place)


def test_the_first_call_of_a_kind_has_a_generous_deadline_and_later_ones_a_multiple_of_the_longest():
    deadlines = Deadlines()
    assert deadlines.of("round", 10) == FIRST_S
    deadlines.took("round", 10, 60.0)
    deadlines.took("round", 10, 30.0)
    assert deadlines.of("round", 10) == FACTOR * 60
    assert deadlines.of("round", 30) == FACTOR * 60 * 3, "three times the work"
    assert deadlines.of("round", 1) == FACTOR * 60
    assert deadlines.of("evaluation", 1) == FIRST_S


def test_a_quick_round_leaves_a_deadline_that_a_loaded_laptop_keeps():
    deadlines = Deadlines()
    deadlines.took("round", 10, 0.01)
    assert deadlines.of("round", 10) == FLOOR_S


def test_a_rule_that_had_nothing_to_do_so_far_may_take_long_when_it_has():
    deadlines = Deadlines()
    deadlines.took("aggregation", 1, 0.01)
    assert deadlines.of("aggregation", 1) == FIRST_S


@given(st.floats(0.1, 1e6), st.floats(0.0, 1e5), st.floats(0.0, 1e9))
def test_a_deadline_that_is_given_holds_for_all_calls(given_s, took, work):
    deadlines = Deadlines(given_s)
    deadlines.took("round", work, took)
    assert deadlines.of("round", work) == deadlines.of("evaluation", 1) == given_s
    assert deadlines.start(180.0) == max(180.0, given_s), "the start of a process is not the user's work"


def test_who_takes_steps_or_waits_for_another_actor_does_not_hang():
    assert stuck(doing(1), doing(1)) and stuck(None, None)
    assert not stuck(doing(1), doing(2)) and not stuck(doing(1), doing(1, waits=True))
    assert not stuck(None, doing(1)) and not stuck(doing(1), None), "it may have been busy for a moment"


def test_an_activity_says_for_whom_and_where_the_thread_works():
    activity = Activity()
    assert activity.now().waits, "nothing to do"
    with activity.call():
        activity.step(3, 7)
        now = activity.now()
        assert (now.round, now.client, now.waits) == (3, 7, False)
        assert now.place.startswith("test_deadlines.py:")
        with activity.waiting():
            assert activity.now().waits
        assert not activity.now().waits and activity.now().taken > now.taken


class Rounds:
    """A round that ends as it was told, once for each time it is played."""

    def __init__(self, *failures):
        self.failures, self.mended = list(failures), 0

    def play(self):
        if self.failures:
            raise self.failures.pop(0)
        return "played"

    def mend(self):
        self.mended += 1


def test_a_round_in_which_different_actors_hang_is_played_until_none_does():
    rounds = Rounds(*(Hung(f"host {n} (pid {n}, node a)", 5.0, doing(client=n)) for n in range(RETRIES)))
    assert replayed("round 2", rounds.play, rounds.mend) == "played" and rounds.mended == RETRIES


@pytest.mark.parametrize(
    ("actor", "found", "kind", "sentence"),
    [
        (
            "host 1 (pid 8, node a)",
            doing(client=4),
            ClientMistake,
            "round 2, client 4, on host 1 (pid 8, node a): ended no step within the deadline of 5 s, twice, and was at "
            "net.py:3, in forward; mend that, or allow more time with --deadline; the run can be resumed",
        ),
        (
            "server 0 (pid 8, node a)",
            doing(client=4),
            ClientMistake,
            "round 2, client 4, at the main server on server 0 (pid 8, node a): ended no step within the deadline of "
            "5 s, twice, and was at net.py:3, in forward; mend that, or allow more time with --deadline; the run can be "
            "resumed",
        ),
        (
            "shard 1 (pid 8, node a)",
            doing(),
            RunError,
            "round 2: shard 1 (pid 8, node a) took no step within its deadline of 5 s, at net.py:3, in "
            "forward, twice; mend that, or allow more time with --deadline; the run can be resumed",
        ),
    ],
)
def test_who_hangs_as_before_ends_the_run_at_once(actor, found, kind, sentence):
    rounds = Rounds(Hung("host 1 (pid 7, node a)" if "host" in actor else actor, 5.0, found), Hung(actor, 5.0, found))
    with pytest.raises(kind) as caught:
        replayed("round 2", rounds.play, rounds.mend)
    assert str(caught.value) == sentence and rounds.mended == 1


@pytest.mark.parametrize("full", [OutOfDiskError("Local disk is full"), ObjectStoreFullError("Local disk is full")])
def test_a_full_object_store_ends_the_run_with_a_sentence(full):
    with pytest.raises(ClusterError) as caught:
        replayed("round 2", Rounds(full).play, lambda: pytest.fail("it would be as full again"))
    assert str(caught.value) == (
        "round 2: Ray's object store is full (Local disk is full); free memory in /dev/shm, or space on the disk of "
        "Ray's folder, to which it spills; the run can be resumed"
    )


def test_who_never_answers_ends_the_run_when_the_retries_are_used_up():
    rounds = Rounds(*[Hung("host 1 (pid 7, node a)", 5.0, None)] * 9)
    with pytest.raises(ClusterError) as caught:
        replayed("round 2", rounds.play, rounds.mend)
    assert str(caught.value) == (
        "round 2: host 1 (pid 7, node a) did not answer within its deadline of 5 s, 6 times in a row; see to its node, "
        "or allow more time with --deadline; the run can be resumed"
    )
    assert rounds.mended == RETRIES
