"""Every combination of some choices, as scenarios."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from raysplit.errors import ScenarioError
from raysplit.scenario.changes import with_changes
from raysplit.scenario.scenario import Scenario


def grid(base: Scenario, **axes: Sequence[Any] | Mapping[str, Any]) -> list[Scenario]:
    """Every combination of the axes, named after its choices: ``grid(base, attack=[None, AgrTailored()], seed=[1,
    2])``.

    An axis is a field of the scenario, ``__`` standing for the dot (``training__lr=[0.1, 0.01]``), and its values; a
    mapping names them itself (``attack={"clean": None, "attacked": AgrTailored()}``).
    """
    named: list[list[tuple[str, str, Any]]] = []
    for axis, values in axes.items():
        path = axis.replace("__", ".")
        pairs = values.items() if isinstance(values, Mapping) else [(_label(path, value), value) for value in values]
        named.append([(label, path, value) for label, value in pairs])
        if not named[-1]:
            raise ScenarioError(f"grid axis {axis!r} has no values")
    scenarios = []
    for choice in itertools.product(*named):
        name = "-".join([base.name, *(label for label, _, _ in choice)])
        scenarios.append(with_changes(base, {**{path: value for _, path, value in choice}, "name": name}))
    if len({scenario.name for scenario in scenarios}) < len(scenarios):
        raise ScenarioError("two scenarios of the grid would have the same name; name the values with a mapping")
    return scenarios


def _label(path: str, value: Any) -> str:
    field = path.rsplit(".", 1)[-1]
    if value is None:
        return f"no_{field}"
    if dataclasses.is_dataclass(value):
        return type(value).__name__
    return re.sub(r"[^A-Za-z0-9._-]", "_", f"{field}{value}")
