"""What was swept: every field in which the scenarios of a sweep differ, as columns of its table of results."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

import pyarrow as pa

from raysplit.analysis.report.pairs import flatten, key, plain

SHOWN_ELSEWHERE = {
    "name": "scenario",
    "seed": "seed",
    "training.rounds": "of",
    "cohort.malicious": "malicious",
    "model.cut": "cut",
    "population.type": "population",
    "model.type": "model",
    "protocol.type": "protocol",
    "attack.start_round": "attack_start",
    "defense.start_round": "defense_start",
}
"""Fields that the table of results has under a name of its own."""


def swept(scenarios: Sequence[Mapping[str, Any]], present: Container[str]) -> dict[str, pa.Array]:
    """A column a field, named by its dotted path (``training.lr``, ``attack.scale``, ``defense.rule.type``); null where
    a scenario has no such field, or leaves it as it was before the field was added. A list, such as a rule's pre-aggregations, is a text.

    ``present``: columns that there are already. A field is left out where one of them is it.
    """
    flat = [flatten(scenario) for scenario in scenarios]
    paths = sorted({path for fields in flat for path in fields})
    found = {}
    for path in paths:
        if path in present or SHOWN_ELSEWHERE.get(path) in present:
            continue
        values = [fields.get(path) for fields in flat]
        if len({key(value) for value in values}) > 1 and (column := _column(values)).null_count < len(column):
            found[path] = column
    return found


def _column(values: Sequence[Any]) -> pa.Array:
    """Of the narrowest type that holds them all: truth values, integers, floats, else texts."""
    known = [value for value in values if value is not None]
    if all(isinstance(value, bool) for value in known):
        return pa.array(values, pa.bool_())
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in known)
    if numbers and all(isinstance(value, int) and abs(value) < 1 << 63 for value in known):
        return pa.array(values, pa.int64())
    if numbers:
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    return pa.array([None if value is None else plain(value) for value in values], pa.string())
