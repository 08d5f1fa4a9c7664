"""Which runs belong together: a clean run with each attacked run of the same scenario, and trials that differ by
seed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from raysplit.analysis.runs.run import Run

Measure = Literal["final", "best", "last5"]
"""Which accuracy of ``Summary`` is meant."""


@dataclass(frozen=True)
class Trial:
    """One scenario with and without its attack; one of the two may be missing. ``seed`` as in the scenario."""

    clean: Run | None
    attacked: Run | None

    @property
    def scenario(self) -> Mapping[str, Any]:
        """The attacked run's scenario, or the clean one's where nothing was attacked."""
        run = self.attacked or self.clean
        assert run is not None
        return run.scenario

    def accuracy(self, measure: Measure) -> tuple[float | None, float | None]:
        """Test accuracies (clean, attacked) as fractions; None where there is no such run or evaluation."""
        return _accuracy(self.clean, measure), _accuracy(self.attacked, measure)

    def drop(self, measure: Measure) -> float | None:
        """Khan et al. 2022, eq. 5: accuracy without attack minus accuracy with it, as a fraction."""
        clean, attacked = self.accuracy(measure)
        return None if clean is None or attacked is None else clean - attacked


def trials(runs: Sequence[Run]) -> list[Trial]:
    """Every run in at least one trial: attacked runs with the clean run that differs by ``attack`` alone, then the
    rest.

    The names of scenarios do not count, and of two runs of one scenario the first is taken: they are equal by promise.
    """
    clean: dict[str, Run] = {}
    attacked: dict[tuple[str, str], Run] = {}
    for run in runs:
        base = key(run.scenario, without=("name", "attack"))
        if run.scenario.get("attack") is None:
            clean.setdefault(base, run)
        else:
            attacked.setdefault((base, key(run.scenario["attack"])), run)
    pairs = [Trial(clean.get(base), run) for (base, _), run in attacked.items()]
    used = {base for base, _ in attacked}
    return pairs + [Trial(run, None) for base, run in clean.items() if base not in used]


def key(value: Any, without: Iterable[str] = ()) -> str:
    """The canonical text of a scenario or part, less some of its top-level fields; equal parts have equal keys."""
    if isinstance(value, Mapping):
        value = {name: item for name, item in value.items() if name not in set(without)}
    return json.dumps(value, sort_keys=True)


def type_name(part: Any) -> str:
    """The type of a scenario's part; ``none`` where there is no part."""
    return str(part.get("type", "none")) if isinstance(part, Mapping) else "none"


def is_unsplit(scenario: Mapping[str, Any]) -> bool:
    """Whether clients train the whole model, so that the cut has no meaning (Table 1 of the paper, not Table 2)."""
    return type_name(scenario.get("protocol")) in ("FedAvg", "Centralized")


def split(scenario: Mapping[str, Any]) -> str:
    """The cut as the scenario names it (V1, V2, …), or a dash where the model is whole."""
    model = scenario.get("model")
    cut = model.get("cut") if isinstance(model, Mapping) else None
    return "–" if cut is None or is_unsplit(scenario) else str(cut)


def flatten(value: Any, path: str = "") -> dict[str, Any]:
    """A part as dotted paths to plain values: ``{"cohort.size": 100, …}``; lists and texts are values."""
    if not isinstance(value, Mapping):
        return {path: value}
    return {
        name: leaf
        for field, item in value.items()
        for name, leaf in flatten(item, f"{path}.{field}" if path else str(field)).items()
    }


def differences(parts: Sequence[Any]) -> list[str]:
    """For each part, the fields on which the parts differ, as ``size=100, malicious=0.2``; empty texts where none
    does."""
    flat = [flatten(part) for part in parts]
    names = list(dict.fromkeys(name for fields in flat for name in fields))
    # A field that is None is not one that there is not: the other part may have a part there.
    varied = [name for name in names if len({key(fields[name]) if name in fields else "" for fields in flat}) > 1]
    return [
        _written([name for name in varied if name in fields], fields, part)
        for fields, part in zip(flat, parts, strict=True)
    ]


def _written(names: Sequence[str], fields: Mapping[str, Any], part: Any) -> str:
    """``size=100, detection=SafeSplit(window=3)``: where a part's type differs, it is written whole, once."""
    whole = [name.removesuffix(".type") for name in names if name.endswith(".type")]
    texts = []
    for name in names:
        if name.endswith(".type") and not any(
            name.startswith(f"{above}.") for above in whole if f"{above}.type" != name
        ):
            texts.append(f"{name.removesuffix('.type')}={plain(_at(part, name.split('.')[:-1]))}")
        elif not any(name.startswith(f"{above}.") for above in whole):
            texts.append(f"{name}={plain(fields[name])}")
    return ", ".join(texts)


def _at(part: Any, path: Sequence[str]) -> Any:
    for name in path:
        part = part[name]
    return part


def acting(part: Any) -> Any:
    """What an attack or a rule does once it has started: without its ``Scheduled`` or ``StartAtRound``, and without a
    ``start_round``."""
    if not isinstance(part, Mapping):
        return part
    within = {"Scheduled": "attack", "StartAtRound": "rule"}.get(type_name(part))
    if within is not None and within in part:
        return acting(part[within])
    return {name: value for name, value in part.items() if name != "start_round"}


def names(parts: Sequence[Any], places: Sequence[Any]) -> list[str]:
    """As ``labels``, and without the rounds in which parts start: of use where splits of one table start in rounds of
    their own.

    ``places``: the place of each part; should two parts of one place differ by their start alone, all are named in
    full.
    """
    apart = {(place, key(part)) for place, part in zip(places, parts, strict=True)}
    alike = {(place, key(acting(part))) for place, part in zip(places, parts, strict=True)}
    return labels([acting(part) for part in parts] if len(apart) == len(alike) else parts)


def title(part: Any) -> str:
    """A part's type; of a rule after pre-aggregations, the types of all of them."""
    if type_name(part) == "Composed" and isinstance(part.get("pre"), Sequence):
        return " + ".join(title(step) for step in [*part["pre"], part.get("rule")])
    return type_name(part)


def labels(parts: Sequence[Any]) -> list[str]:
    """A name for each part: its type and, where parts of one type differ, the fields that tell them apart."""
    names = [title(part) for part in parts]
    texts = list(names)
    for name in set(names):
        places = [place for place, other in enumerate(names) if other == name]
        for place, text in zip(places, differences([parts[place] for place in places]), strict=True):
            texts[place] = f"{name} ({text})" if text else name
    return texts


def plain(value: Any) -> str:
    """A value of a scenario in one line of text, as a scenario file has it, without quotes around texts:
    ``[Bucketing(size=2)]``. A part's fields that are None are left out."""
    if isinstance(value, Mapping):
        kind = type_name(value)
        if kind in ("path", "function"):
            return str(value.get("path", value.get("name")))
        fields = [
            f"{name}={plain(item)}"
            for name, item in value.items()
            if name not in ("type", "source_sha256") and item is not None
        ]
        return f"{kind if 'type' in value else ''}({', '.join(fields)})"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(plain(item) for item in value)}]"
    return str(value)


def _accuracy(run: Run | None, measure: Measure) -> float | None:
    if run is None:
        return None
    summary = run.summary()
    return {"final": summary.final, "best": summary.best, "last5": summary.last5}[measure]
