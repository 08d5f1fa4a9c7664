"""Which first rounds two scenarios have in common, so that they are trained once, and how a run takes them over.

Two scenarios share round r where everything that acts in rounds 1 to r is equal in their canonical forms: an attack or
a rule that starts later does not act yet, and under the mean nobody's updates show who is malicious. What a round
computes then has the same bits, and what the tables say of it differs by that label alone, which is written anew.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

import raysplit
from raysplit.aggregation.rules.mean import Mean
from raysplit.attacks.data.poisoning import measured
from raysplit.errors import ScenarioError
from raysplit.parts.canonical import to_json
from raysplit.population.population import Population
from raysplit.population.selection.cohort import Participation, ParticipationSampler
from raysplit.scenario.scenario import Scenario
from raysplit.storage.atomic import write_bytes
from raysplit.storage.schemas import SCHEMAS
from raysplit.storage.stream import batch_message, schema_message
from raysplit.storage.tables import read_table, rewind

Form = Mapping[str, Any]
"""A scenario's canonical form: ``Scenario.to_json()``, or a run's scenario.json."""


def check_longer(scenario: Scenario, rounds: int) -> None:
    """Raise ``ScenarioError`` where the first rounds of a scenario are others once it is ``rounds`` long."""
    if rounds <= scenario.training.rounds:
        raise ScenarioError(
            f"{scenario.name} has {scenario.training.rounds} rounds; --rounds takes how many there are to be in all, "
            f"so more than that, but it is {rounds}"
        )
    schedule, done = scenario.training.schedule, scenario.training.rounds
    if schedule is not None and any(
        schedule.factor(round, done) != schedule.factor(round, rounds) for round in range(1, done + 1)
    ):
        raise ScenarioError(
            f"the learning rate of {scenario.name} follows {type(schedule).__name__}, which goes by the number of "
            f"rounds, so its first {done} would be others in a run of {rounds}; run it anew with --set "
            f"training.rounds={rounds}"
        )


def leaves_traces(scenario: Scenario) -> bool:
    """Whether rounds before its attack starts tell of it: of its success, where that is measured, or of what it will
    ask for."""
    asks = scenario.attack is not None and scenario.attack.asks_last_move
    return asks or (bool(measured(scenario.attack)) and scenario.evaluation.success_of is None)


def shared_rounds(scenario: Scenario, other: Form, traces: bool | None = None) -> int:
    """How many first rounds a scenario has in common with ``other``, at most all but the last of the shorter one; 0
    where there is none.

    ``traces``: whether ``other`` leaves some of its attack in rounds before that starts; None: whatever its form leaves
    possible.
    """
    own = scenario.to_json()
    seen = (leaves_traces(scenario), _may_leave_traces(other) if traces is None else traces)
    last = min(_rounds(own), _rounds(other)) - 1
    starts = {_start(form.get(name)) - 1 for form in (own, other) for name in ("attack", "defense", "server_defense")}
    starts.update(min(form["observe"]["rounds"]) - 1 for form in (own, other) if "observe" in form)
    labels = _labels_only(scenario)  # ``other`` is alike in all that this asks, or its opening is another one anyway
    for rounds in sorted({last, *(start for start in starts if start < last)}, reverse=True):
        if rounds >= 1 and opening(own, rounds, labels, seen[0]) == opening(other, rounds, labels, seen[1]):
            return rounds
    return 0


def opening(scenario: Form, rounds: int, labels_only: bool, traces: bool = False) -> str:
    """The canonical text of all that decides rounds 1 to ``rounds`` of a scenario (``rounds`` below its last).

    ``labels_only``: whether the share of malicious clients decides nothing while nobody acts maliciously and the mean
    is in force. ``traces``: whether the attack is part of rounds before it starts.
    """
    form = {name: value for name, value in scenario.items() if name not in ("name", "checkpoint_every")}
    mean = to_json(Mean())
    if form["training"]["schedule"] is None:
        form["training"] = _without(
            form["training"], "rounds"
        )  # a schedule may ask how many there will be, nothing else does
    if form["attack"] is not None and _start(form["attack"]) > rounds and not traces:
        form["attack"] = None
    for name in ("defense", "server_defense"):
        rule = form.get(name)
        if rule is not None and _is_own(rule) and _start(rule) > rounds:  # until then it is the mean
            form[name] = mean
    if "observe" in form and min(form["observe"]["rounds"]) > rounds:
        del form["observe"]
    means = form["defense"] == mean and form.get("server_defense") == mean
    if labels_only and form["attack"] is None and means:
        form["cohort"] = _without(form["cohort"], "malicious", "of")
    return json.dumps(form, sort_keys=True)


def _rounds(form: Form) -> int:
    rounds: int = form["training"]["rounds"]
    return rounds


def _start(part: Any) -> int:
    """When an attack or a rule begins to act: as its ``start_round`` says, or, where an attack of RaySplit's own only
    joins or wraps others, with the first of these; 1 where its form does not say."""
    if not isinstance(part, Mapping):
        return 1
    start = part.get("start_round")
    if isinstance(start, int):
        return start
    wrapped = part.get("attacks", [part.get("attack")])
    return min(_start(attack) for attack in wrapped) if _is_own(part) else 1


def _may_leave_traces(form: Form) -> bool:
    """``leaves_traces`` of a scenario of which only the form is known: no for RaySplit's own attacks without a goal,
    else yes."""
    return form["attack"] is not None and any(_may_leave(part) for part in _parts(form["attack"]))


def _may_leave(part: Form) -> bool:
    if not _is_own(part) or part["type"] not in raysplit.__all__:
        return True
    own = getattr(raysplit, part["type"])
    return hasattr(own, "attempts") or "asks_last_move" in vars(own)


def _parts(form: Any) -> Iterator[Form]:
    """A part's form and those of the parts in it."""
    if isinstance(form, Mapping):
        if "type" in form:
            yield form
        for value in form.values():
            yield from _parts(value)
    elif isinstance(form, list):
        for item in form:
            yield from _parts(item)


def _is_own(part: Form) -> bool:
    """Whether a form is of one of RaySplit's own classes; a user's carries a digest of its source."""
    return "source_sha256" not in part


def _without(part: Form, *names: str) -> dict[str, Any]:
    return {name: value for name, value in part.items() if name not in names}


def adopt_tables(source: Path, folder: Path, rounds: int, scenario: Scenario, population: Population) -> None:
    """Copy the tables of another run's first ``rounds`` rounds into ``folder``, as ``scenario`` would have written
    them."""
    shutil.copytree(source, folder)
    rewind(folder, rounds)
    if rounds % scenario.evaluation.every:  # that run was evaluated there because it was its last round
        for name in ("evaluations", "client_evaluations"):
            kept = [batch for batch in read_table(folder / f"{name}.arrow").to_batches() if not _is_of(batch, rounds)]
            _write_batches(folder, name, kept)
    if not _labels_only(scenario):
        return
    sampler = ParticipationSampler(scenario.cohort, scenario.seed, population)
    who = {round: sampler.of(round) for round in range(1, rounds + 1)}
    for name, anew in _RELABELLED.items():
        batches = read_table(folder / f"{name}.arrow").to_batches()
        _write_batches(folder, name, [_with_columns(batch, anew(scenario, who, batch)) for batch in batches])


def _is_of(batch: pa.RecordBatch, round: int) -> bool:
    """Whether a batch, which holds rows of one round, is of ``round``."""
    return batch.num_rows > 0 and batch.column("round")[0].as_py() == round


def _write_batches(folder: Path, name: str, batches: list[pa.RecordBatch]) -> None:
    write_bytes(
        folder / f"{name}.arrow", schema_message(SCHEMAS[name]) + b"".join(batch_message(batch) for batch in batches)
    )


def _labels_only(scenario: Scenario) -> bool:
    """Whether rounds without an attack and under the mean differ by the malicious share in labels alone, found from the
    participation.

    Not where updates are recorded or split steps judged, whose tables hold more than labels of who is malicious, and
    not where who reports depends on more than the cohort: on stragglers, or on asynchrony.
    """
    return (
        scenario.record_updates_every is None
        and scenario.detection is None
        and scenario.devices is None
        and scenario.protocol.synchrony == "synchronous"
        and scenario.protocol.client_sync != "one_party"
    )


Columns = dict[str, list[Any]]
Relabel = Callable[[Scenario, dict[int, Participation], pa.RecordBatch], Columns]


def _in_rounds(scenario: Scenario, who: dict[int, Participation], batch: pa.RecordBatch) -> Columns:
    return {"malicious": [int(who[round].reporting.malicious.sum()) for round in batch.column("round").to_pylist()]}


def _in_clients(scenario: Scenario, who: dict[int, Participation], batch: pa.RecordBatch) -> Columns:
    rounds, clients = batch.column("round").to_pylist(), batch.column("client").to_pylist()
    malicious = {
        (round, client): bool(malicious_client)
        for round in set(rounds)
        for sampled in (who[round].reporting, who[round].dropped)
        for client, malicious_client in zip(sampled.clients.tolist(), sampled.malicious, strict=True)
    }
    return {"malicious": [malicious[at] for at in zip(rounds, clients, strict=True)]}


def _in_aggregation(scenario: Scenario, who: dict[int, Participation], batch: pa.RecordBatch) -> Columns:
    here = [who[round].reporting for round in batch.column("round").to_pylist()]
    return {
        "assumed": [scenario.cohort.assumed_among(len(sampled.clients)) for sampled in here],
        "actual": [int(sampled.malicious.sum()) for sampled in here],
    }


_RELABELLED: dict[str, Relabel] = {"rounds": _in_rounds, "clients": _in_clients, "aggregation": _in_aggregation}


def _with_columns(batch: pa.RecordBatch, columns: Columns) -> pa.RecordBatch:
    arrays = [
        pa.array(columns[field.name], field.type) if field.name in columns else batch.column(field.name)
        for field in batch.schema
    ]
    return pa.record_batch(arrays, schema=batch.schema)
