"""Who is there and when: the rhythm of a day, and traces from files."""

import hashlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysplit.errors import PopulationError, ScenarioError
from raysplit.population.selection.availability import DayNight, TraceFile
from raysplit.population.selection.cohort import Cohort, ParticipationSampler
from tests.toys import ToyClients

TRACE = "client,start,stop\n0,1,4\n0,6,7\n2,3,5\n"


@settings(deadline=None)
@given(st.integers(1, 30), st.floats(0, 1), st.floats(0, 1), st.integers(0, 3))
def test_a_day_repeats_and_everybody_gets_the_same_share_of_it(period, share, spread, seed):
    presence = DayNight(period, share, spread, seed).presence(50)
    days = np.array([presence(round) for round in range(1, 2 * period + 1)])
    assert (days[:period] == days[period:]).all()
    assert (abs(days[:period].sum(0) - share * period) <= 1).all()
    changes = (days[:period] != np.roll(days[:period], 1, axis=0)).sum(0)
    assert changes.max() <= 2, "at a stretch"


def test_time_zones():
    together = DayNight(10, 0.5, spread=0).presence(40)
    assert [int(together(round).sum()) for round in range(1, 12)] == [40] * 5 + [0] * 5 + [40]
    around = DayNight(10, 0.5).presence(20_000)
    assert all(abs(around(round).mean() - 0.5) < 0.02 for round in range(1, 11))
    assert (DayNight(10, 0.5, seed=1).presence(20_000)(1) != around(1)).any()


def test_a_trace_is_read_from_csv_and_from_arrow(tmp_path):
    (tmp_path / "trace.csv").write_text(TRACE)
    table = pa.table({"start": [1, 6, 3], "client": [0, 0, 2], "stop": pa.array([4, 7, 5], pa.int32())})
    with pa.ipc.new_file(str(tmp_path / "trace.arrow"), table.schema) as writer:
        writer.write_table(table)
    for name in ("trace.csv", "trace.arrow"):
        presence = TraceFile(str(tmp_path / name)).presence(4)
        there = [np.flatnonzero(presence(round)).tolist() for round in range(1, 9)]
        assert there == [[0], [0], [0, 2], [2], [], [0], [], []]
        daily = TraceFile(str(tmp_path / name), period=6).presence(4)
        assert [np.flatnonzero(daily(round)).tolist() for round in range(1, 13)] == there[:6] * 2


def test_its_bytes_can_be_pinned(tmp_path):
    (tmp_path / "trace.csv").write_text(TRACE)
    digest = hashlib.sha256(TRACE.encode()).hexdigest()
    TraceFile(str(tmp_path / "trace.csv"), sha256=digest).presence(4)
    with pytest.raises(PopulationError, match=f"has the sha256 {digest}, not abc as the scenario says"):
        TraceFile(str(tmp_path / "trace.csv"), sha256="abc").presence(4)


@pytest.mark.parametrize(
    "text,words",
    [
        ("client,start,stop\n9,1,4\n", r"names client 9, but clients are 0\.\.3"),
        ("client,start,stop\n-1,1,4\n", r"names client -1"),
        ("client,start,stop\n1,1,4\n1,4,4\n", r"has the rounds 4\.\.4 in row 2, not 1 ≤ start < stop"),
        ("client,start,stop\n1,0,4\n", "not 1 ≤ start < stop"),
        ("client,start,stop\n1,2,9\n", r"not 1 ≤ start < stop ≤ period \+ 1 = 6"),
        ("client,start\n1,2\n", "it needs client, start, stop"),
        ("client,start,stop\n1,a,4\n", "must be whole numbers in every row"),
        ("client,start,stop\n1,,4\n", "must be whole numbers in every row"),
        ("", "cannot be read"),
    ],
)
def test_a_trace_that_cannot_be_is_refused(tmp_path, text, words):
    (tmp_path / "trace.csv").write_text(text)
    with pytest.raises(PopulationError, match=words) as caught:
        TraceFile(str(tmp_path / "trace.csv"), period=5).presence(4)
    assert "\n" not in str(caught.value)


def test_a_missing_or_misnamed_trace_is_refused(tmp_path):
    with pytest.raises(PopulationError, match="there is no trace file"):
        TraceFile(str(tmp_path / "none.csv")).presence(4)
    with pytest.raises(ScenarioError, match=r"must end in \.csv or \.arrow"):
        TraceFile("trace.txt")
    with pytest.raises(ScenarioError, match=r"DayNight\.share must be at least 0 and at most 1"):
        DayNight(share=2.0)


def test_too_few_available_means_all_of_them_and_nobody_means_a_round_passed_over(tmp_path):
    (tmp_path / "trace.csv").write_text(TRACE)
    cohort = Cohort(2, available=TraceFile(str(tmp_path / "trace.csv")))
    sampler = ParticipationSampler(cohort, 0, ToyClients(6).open())
    assert [sampler.of(round).reporting.clients.tolist() for round in (1, 3, 4, 5)] == [[0], [0, 2], [2], []]
