"""What the scenarios of ``same_bits.py`` are made of: small data, a small network, and names that trees before and
after a renaming both know.

Scenarios are written once and built in either tree, so nothing is imported from inside ``raysplit``: ``pick`` and
``first_valid`` bridge names that changed.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from same_bits_data import Blots
from torch import nn

import raysplit as rs

Make = Callable[[], Any]
"""Gives a scenario; its name and its seed are put in afterwards."""
FAILURES: dict[str, str] = {}
"""Scenarios that could not be built, and why."""


def pick(*names: str) -> Any:
    """The first of ``names`` that ``raysplit`` exports: the new name of a class first, its old one after it."""
    for name in names:
        if name in rs.__all__:
            return getattr(rs, name)
    raise AttributeError(f"raysplit exports none of {', '.join(names)}")


def first_valid(*makers: Make) -> Any:
    """What the first of ``makers`` gives that the tree accepts; the last one's error where it accepts none."""
    for make in makers[:-1]:
        try:
            return make()
        except (rs.UserError, TypeError, AttributeError):
            continue
    return makers[-1]()


def trimmed_mean(f: int | str) -> Any:
    """A trimmed mean against ``f`` malicious clients; the field had another name before."""
    rule: Any = rs.TrimmedMean  # its arguments differ between the trees
    return first_valid(lambda: rule(f=f), lambda: rule(trim=f))


def small_net(batch_norm: bool, dropout: float) -> list[tuple[str, nn.Module]]:
    """Four stages, some 300 parameters; a norm on each side of the cut ``conv1``, a dropout layer on each side of the
    cut ``conv2``."""
    norms = [[nn.BatchNorm2d(channels)] if batch_norm else [] for channels in (3, 4)]
    drops = [[nn.Dropout(dropout)] if dropout else [] for _ in range(2)]
    return [
        ("conv1", nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), *norms[0], nn.MaxPool2d(3), nn.ReLU())),
        ("conv2", nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), *norms[1], nn.MaxPool2d(2), nn.ReLU(), *drops[0])),
        ("fc1", nn.Sequential(nn.Flatten(), nn.Linear(16, 7), nn.ReLU(), *drops[1])),
        ("fc2", nn.Linear(7, 5)),
    ]


def net(cut: str | None = "conv2", tail: str | None = "fc2", batch_norm: bool = False, dropout: float = 0.0) -> Any:
    """``small_net`` as a model."""
    return rs.sequential(small_net, (1, 12, 12), classes=5, cut=cut, tail=tail, batch_norm=batch_norm, dropout=dropout)


def toy(protocol: Any, clients: int = 6, **changes: Any) -> Any:
    """Two rounds in which everybody takes part; ``changes`` are fields of the scenario, or of its parts as
    ``training__lr``."""
    fields: dict[str, Any] = {
        "name": "toy",
        "population": Blots(clients),
        "model": net(),
        "protocol": protocol,
        "cohort": rs.Cohort(clients),
        **{name: value for name, value in changes.items() if "__" not in name},
    }
    training = {"rounds": 2, "lr": 0.05, "batch_size": 4, "optimizer": rs.Sgd(momentum=0.9, weight_decay=1e-3)}
    evaluation = {"every": 2, "clients": 4}
    fields["training"] = rs.Training(**{**training, **_within(changes, "training")})
    fields["evaluation"] = rs.Evaluation(**{**evaluation, **_within(changes, "evaluation")})
    return rs.Scenario(**fields)


def _within(changes: Mapping[str, Any], part: str) -> dict[str, Any]:
    prefix = f"{part}__"
    return {name.removeprefix(prefix): value for name, value in changes.items() if name.startswith(prefix)}


def attacked(protocol: Any, attack: Any, rule: Any = None, **changes: Any) -> Any:
    """Two rounds of twelve clients, two of them malicious; under the mean unless a ``rule`` is given."""
    few = {"cohort": rs.Cohort(12, 0.17, "cohort"), **changes}
    return toy(protocol, 12, attack=attack, defense=rule or rs.Mean(), **few)


def each(prefix: str, parts: Mapping[str, Make], scenario: Callable[[Any], Any]) -> dict[str, Make]:
    """``PREFIX-NAME`` → a scenario with that one of ``parts``."""
    return {f"{prefix}-{name}": functools.partial(_with, make, scenario) for name, make in parts.items()}


def _with(make: Make, scenario: Callable[[Any], Any]) -> Any:
    return scenario(make())


def build(cases: Mapping[str, Make], names: Iterable[str]) -> list[Any]:
    """The scenarios called ``names``, each with a seed of its own so that none forks from another, but for
    ``fork-GROUP-…``, which do.

    One that cannot be built is left out and noted in ``FAILURES``.
    """
    scenarios = []
    for name in names:
        group = "-".join(name.split("-")[:2]) if name.startswith("fork-") else name
        try:
            scenarios.append(cases[name]().replace(name=name, seed=zlib.crc32(group.encode()) % 100_000))
        except Exception as error:
            FAILURES[name] = f"cannot be built: {type(error).__name__}: {error}"
    return scenarios
