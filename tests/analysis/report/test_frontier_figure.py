"""Names in the plot of a frontier do not lie on one another."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from raysplit.analysis.report.frontier_figure import beside

places = st.tuples(st.floats(0, 400), st.floats(0, 300))


@given(st.lists(places, max_size=12), st.sampled_from([(-1, 1), (1, 1), (-1, -1)]))
def test_names_that_are_written_are_a_line_apart_or_beside_each_other(
    at: list[tuple[float, float]], towards: tuple[int, int]
) -> None:
    name, letters = "V1, noise 0.5", 13 * 0.58 * 8
    offsets = beside([(place, name) for place in at], towards)
    boxes = []
    for (x, y), offset in zip(at, offsets, strict=True):
        if offset is not None:
            left = x + offset[0] - (0 if offset[0] > 0 else letters)
            boxes.append((left, y + offset[1]))
    for number, (left, height) in enumerate(boxes):
        assert all(abs(left - a) >= letters - 1e-6 or abs(height - h) > 8 for a, h in boxes[:number])
    assert offsets[:1] != [None]
