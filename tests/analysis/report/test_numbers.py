from __future__ import annotations

import math

import pytest

from raysplit.analysis.report.numbers import count, percent, seconds, significant, size, spread


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.6305, "63.1"), (0.0905, "9.1"), (0, "0.0"), (1, "100.0"), (-0.0123, "−1.2"), (-0.0001, "0.0"), (None, "–"), (math.nan, "NaN")],
)  # fmt: skip
def test_percentages_have_one_decimal(value: float | None, text: str) -> None:
    assert percent(value) == text


def test_several_seeds_are_a_mean_and_a_deviation() -> None:
    assert spread([]) == "–" and spread([0.5]) == "50.0"
    assert spread([0.5, 0.52, 0.54]) == "52.0 ± 2.0"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (0.05, "0.0500"), (1234.5, "1\u202f230"), (123456.0, "123\u202f000"), (1.5e-7, "1.50×10⁻⁷"), (-2e9, "−2.00×10⁹"),
        (9.999, "10.0"), (math.inf, "∞"), (None, "–"),
    ],
)  # fmt: skip
def test_numbers_have_three_digits(value: float | None, text: str) -> None:
    assert significant(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (999, "999 B"), (999.7, "1.00 kB"), (3_266_304, "3.27 MB"), (2.9e9, "2.90 GB"), (None, "–")],
)
def test_bytes_have_decimal_units(value: float | None, text: str) -> None:
    assert size(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.084, "84.0 ms"), (3.2, "3.20 s"), (125.4, "2 min 5 s"), (11_520, "3 h 12 min"), (None, "–")]
)
def test_durations_are_said_as_people_say_them(value: float | None, text: str) -> None:
    assert seconds(value) == text


def test_thousands_are_set_apart() -> None:
    assert count(848_382) == "848\u202f382" and count(-1000) == "−1\u202f000"
