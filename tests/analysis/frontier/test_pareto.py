"""The Pareto front, against its definition written another way."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from raysplit.analysis.frontier.pareto import pareto_front

few = st.integers(-3, 3).map(float)
some = st.integers(1, 4).flatmap(lambda size: st.lists(st.lists(few, min_size=size, max_size=size), max_size=12))


def reached(points: list[list[float]], bound: list[float]) -> bool:
    """Whether some point is within ``bound`` in every cost."""
    return any(max(a - b for a, b in zip(point, bound, strict=True)) <= 0 for point in points)


@given(some)
def test_a_point_is_on_the_front_where_nothing_but_its_equals_is_within_its_costs(points: list[list[float]]) -> None:
    expected = [not reached([other for other in points if other != point], point) for point in points]
    assert pareto_front(points) == expected


@given(some)
def test_every_point_off_the_front_is_within_reach_of_one_on_it(points: list[list[float]]) -> None:
    marks = pareto_front(points)
    front = [point for point, mark in zip(points, marks, strict=True) if mark]
    assert all(reached(front, point) for point in points)
    assert bool(points) == any(marks)


def test_of_equal_points_all_are_on_the_front() -> None:
    assert pareto_front([[1.0, 2.0], [1.0, 2.0], [2.0, 2.0], [3.0, 1.0]]) == [True, True, False, True]
