"""Which scenarios of ``same_bits.py`` are played on what: modes, choice by name, and how they are dealt to
processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

MODULES = ("same_bits_protocols", "same_bits_attacks", "same_bits_rules")
"""Files beside this one with a table of scenarios each."""


@dataclass(frozen=True)
class Mode:
    """How the scenarios called as ``cases`` (but not as ``but``) are played; ``engine``: the fields of an
    ``EngineChoice``.

    ``taken_back``: so many last rounds are played, taken back and played again by ``resume``.
    """

    cases: tuple[str, ...]
    engine: Mapping[str, Any] = field(default_factory=dict)
    but: tuple[str, ...] = ()
    taken_back: int = 0

    @property
    def on_ray(self) -> bool:
        return bool(self.engine["engine"] == "ray")

    def has(self, name: str) -> bool:
        """Whether a scenario is played in this mode."""
        return any(fnmatchcase(name, glob) for glob in self.cases) and not any(fnmatchcase(name, g) for g in self.but)


def _ray(hosts: int, servers: int | None = None, placement: str = "colocated", shards: int = 1) -> dict[str, Any]:
    return {"engine": "ray", "hosts": hosts, "servers": servers, "placement": placement, "shards": shards}


WIDEST = _ray(2, 2)
"""The cluster that all modes on Ray share: as many CPUs as the largest of them asks for, starting one takes longer than
most scenarios."""
_UNPOOLED = ("centralized", "fedavg", "vertical*", "extended", "multi-task*", "v1-thapa")

MODES: dict[str, Mode] = {
    "local": Mode(("*",), {"engine": "local"}, but=("resume-*",)),
    "shards3": Mode(
        (
            "rule-mean",
            "rule-trimmed",
            "rule-median-midpoint",
            "rule-around-median",
            "rule-krum",
            "rule-multi-krum",
            "rule-bulyan",
            "rule-geometric",
            "rule-centred-previous",
            "rule-norm-noise",
            "rule-divide-columns",
            "rule-fltrust-three",
            "rule-fltrust-split",
            "rule-sign-guard",
            "rule-flame-models",
            "rule-crfl-median",
            "rule-mixing",
            "rule-arc-bucketing",
            "rule-late-fltrust",
            "rule-flame-fedopt",
            "rule-cycle",
            "rule-async",
            "attack-agr*",
            "attack-fang*",
            "attack-gaussian",
            "attack-lie",
            "attack-mimic",
            "attack-min-*",
            "attack-replacement-lie",
            "attack-optimal-ipm",
            "attack-single-shot",
            "attack-krum-agr",
            "attack-multi-krum-ndss",
            "attack-buffered",
            "attack-norms",
            "own-protocol",
            "norm-v1",
            "cohort-dropouts",
        ),
        {"engine": "local", "shards": 3},
    ),
    "resumed": Mode(("resume-*",), {"engine": "local"}, taken_back=1),
    "ray-colocated1": Mode(
        ("protocol-*", "detection-sl", "message-sl", "own-*"),
        _ray(1),
        but=tuple(
            f"protocol-{name}" for name in ("v1-sum", "*-major", "*-alike", "*-height", "*-labels", "*-together")
        ),
    ),
    "ray-colocated2": Mode(
        (
            "protocol-fedavg",
            "protocol-v1*",
            "protocol-v3*",
            "dropout-v1",
            "norm-v1",
            "part-v3",
            "message-v1",
            "updates-replicas",
            "server-rule-fools-gold",
            "rule-fltrust-v1",
            "time-v1",
            "poison-pixel-v1",
            "cohort-dropouts-after",
            "fork-fl-*",
        ),
        _ray(2),
    ),
    "ray-pooled2": Mode(
        (
            "protocol-*",
            "part-v3",
            "part-async-sfl",
            "part-buffered",
            "dropout-cycle",
            "norm-v2-u",
            "message-three",
            "message-u-*",
            "message-v1",
            "detection-strict",
            "server-rule-median",
            "state-travels",
            "state-per-client",
            "fork-v2-*",
            "own-*",
        ),
        _ray(2, 2, "pooled"),
        but=tuple(f"protocol-{name}" for name in _UNPOOLED),
    ),
    "ray-shards3": Mode(
        (
            "rule-trimmed",
            "rule-bulyan",
            "rule-geometric",
            "rule-centred-previous",
            "rule-fltrust",
            "rule-arc-bucketing",
            "rule-divide",
            "rule-crfl-median",
            "rule-flame-models",
            "attack-agr",
            "attack-min-max",
            "attack-gaussian",
            "attack-norms",
            "attack-buffered",
        ),
        _ray(2, shards=3),
    ),
    "ray-resumed": Mode(("resume-v1",), _ray(2, 1, "pooled"), taken_back=1),
}


QUICK = (
    *(
        "protocol-fedavg",
        "protocol-sl",
        "protocol-v1",
        "protocol-v2-u",
        "protocol-v3",
        "protocol-sglr",
        "protocol-cycle-sfl",
    ),
    *(
        "protocol-async-sfl",
        "protocol-buffered",
        "protocol-vertical",
        "part-psl",
        "published-v1-thapa",
        "own-*",
        "model-graphs",
    ),
    *(
        "state-per-client",
        "train-fedopt-v1",
        "norm-v1",
        "dropout-v1",
        "cohort-dropouts",
        "time-deadline",
        "data-dirichlet",
    ),
    *(
        "rule-trimmed",
        "rule-krum",
        "rule-fltrust",
        "rule-fools-gold",
        "rule-arc-bucketing",
        "rule-late",
        "server-rule-median",
    ),
    *(
        "attack-agr",
        "attack-min-max",
        "attack-neurotoxin",
        "attack-on-off",
        "replicas-both",
        "poison-pixel",
        "poison-replaced",
    ),
    *("message-three", "message-u-gradients-noise", "detection-strict", "updates-replicas", "fork-v2-*", "resume-v2-u"),
)
"""One of each kind, for ``--only quick``, on the local engine."""


@dataclass(frozen=True)
class Task:
    """Scenarios of one file to be played in one mode."""

    mode: str
    module: str
    names: tuple[str, ...]

    @property
    def ids(self) -> list[str]:
        return [f"{self.mode}/{name}" for name in self.names]


def selected(names: Mapping[str, Sequence[str]], only: Sequence[str]) -> list[Task]:
    """What is played: ``names`` by file, of which ``only`` chooses by globs on ``mode/name``, on ``mode`` or on
    ``name``, or says ``local``, ``ray`` or ``quick``. Scenarios that fork from one another come all or none.
    """
    tasks = []
    for mode_name, mode in MODES.items():
        for module, known in names.items():
            here = [name for name in known if mode.has(name)]
            requested = [name for name in here if not only or any(_chooses(word, mode_name, name) for word in only)]
            groups = {group_of(name) for name in requested if name.startswith("fork-")}
            chosen = tuple(name for name in here if name in requested or group_of(name) in groups)
            if chosen:
                tasks.append(Task(mode_name, module, chosen))
    return tasks


def _chooses(word: str, mode: str, name: str) -> bool:
    on_ray = MODES[mode].on_ray
    if word == "quick":
        return not on_ray and mode != "shards3" and any(fnmatchcase(name, glob) for glob in QUICK)
    family = "ray" if on_ray else "local"
    return word == family or any(fnmatchcase(text, word) for text in (f"{mode}/{name}", mode, name))


def group_of(name: str) -> str:
    """``fork-GROUP`` of a scenario that forks from others of its group; any other is a group of its own."""
    return "-".join(name.split("-")[:2]) if name.startswith("fork-") else name


def dealt(tasks: Sequence[Task], ways: int) -> list[list[Task]]:
    """``tasks`` on the local engine in ``ways`` parts for processes side by side, and those on Ray, which share one
    process, last."""
    local = [task for task in tasks if not MODES[task.mode].on_ray]
    parts: list[list[Task]] = []
    for way in range(ways):
        part = []
        for task in local:
            groups = list(dict.fromkeys(group_of(name) for name in task.names))
            own_groups = set(groups[way::ways])
            names = tuple(name for name in task.names if group_of(name) in own_groups)
            if names:
                part.append(Task(task.mode, task.module, names))
        parts.append(part)
    return [part for part in [*parts, [task for task in tasks if MODES[task.mode].on_ray]] if part]
