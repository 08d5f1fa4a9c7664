"""A run folder, read: its tables, its scenario, the machine it ran on, how it ended, and the model that it trained."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from raysplit.errors import RunError, counted
from raysplit.storage.schemas import FORMAT, LATER, SCHEMAS
from raysplit.storage.tables import read_table

if TYPE_CHECKING:  # tables are read without waiting for torch
    from raysplit.analysis.runs.trained import Trained, TrainedModel
    from raysplit.population.population import PopulationSpec
    from raysplit.scenario.scenario import Scenario
    from raysplit.simulation.evaluation import Evaluated
    from raysplit.storage.updates import RecordedRound


@dataclass(frozen=True)
class State:
    """How far a run came. ``status``: ``running``, ``finished``, ``interrupted`` or ``diverged``; a run that was killed
    says ``running`` for ever. ``rounds``: completed rounds. ``digest``: of the final model, where the run ended.
    ``record``: run.json as it is, empty where there is none.
    """

    status: str
    rounds: int
    digest: str | None
    record: Mapping[str, Any]

    @property
    def finished(self) -> bool:
        """Whether the run went to its end; a diverged run is an outcome, not an unfinished run."""
        return self.status in ("finished", "diverged")


@dataclass(frozen=True)
class Summary:
    """Test accuracies as fractions, None before the first evaluation.

    ``best`` is the test accuracy at its best evaluation (so it is chosen on the test set: an upper bound), ``last5``
    the mean of the last ``late_evaluations``: five, or all where there are fewer. A diverged run may have a good ``best``: read it with ``final``.
    """

    final: float | None
    final_round: int | None
    best: float | None
    best_round: int | None
    last5: float | None
    diverged: bool
    late_evaluations: int = 0


@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """Everything that a run has left behind so far. Tables are Arrow (``.rounds.to_pandas()`` and the like give data
    frames), as they were when the run was opened; ``scenario`` is the canonical form, ``environment`` the machine.

    ``played``: the scenario itself, where ``raysplit.run`` was given one; None: it is read from the run's scenario file
    when it is used.
    """

    path: Path
    rounds: pa.Table
    clients: pa.Table
    aggregation: pa.Table
    attacks: pa.Table
    channels: pa.Table
    evaluations: pa.Table
    client_evaluations: pa.Table
    times: pa.Table
    detection: pa.Table
    client_scores: pa.Table
    privacy: pa.Table
    scenario: Mapping[str, Any]
    environment: Mapping[str, Any]
    state: State
    played: Scenario | None = None

    def __repr__(self) -> str:
        training = self.scenario.get("training")
        of = training.get("rounds") if isinstance(training, Mapping) else None
        rounds = counted(self.state.rounds, "round") if of is None else f"{self.state.rounds} of {counted(of, 'round')}"
        final = self.summary().final
        accuracy = "not evaluated yet" if final is None else f"test accuracy {100 * final:.1f} %"
        return f"Run({self.name}: {self.state.status}, {rounds}, {accuracy}, {self.path})"

    @property
    def name(self) -> str:
        """The scenario's name, or the folder's where the scenario has none."""
        return str(self.scenario.get("name") or self.path.name)

    def model(self, client: int | None = None) -> TrainedModel:
        """The trained network of the newest checkpoint, in evaluation mode: logits [B, classes] of samples
        [B, C, H, W], bytes or floats, as the population holds them. ``client``: whose portion, where clients keep
        portions of their own; one that never trained has the initial one.

        Raises ``RunError`` where there is no checkpoint yet, or ``client`` is missing or says nothing. Of a run that
        was only opened the scenario file in its folder is executed, as ``raysplit resume`` does.
        """
        from raysplit.analysis.runs.trained import trained_model

        return trained_model(self.trained(), client)

    def evaluate(self, population: PopulationSpec | None = None, clients: Sequence[int] | None = None) -> Evaluated:
        """The model of the newest checkpoint on test sets, as the simulator evaluates: loss in nats, accuracy, spread
        over clients and, where the attack has a goal, its success. Of the newest checkpoint's round this gives what
        ``evaluations`` has, to the last bit, unless published code tests clients in the middle of a round.

        ``population``: whose test sets; None: the run's own. ``clients``: ids; None: as many as the scenario's
        ``Evaluation`` says, and in the run's own population the same ones. Raises ``UserError`` where the population
        does not fit the model or a client is not in it.
        """
        from raysplit.analysis.runs.trained import evaluate_trained

        return evaluate_trained(self.trained(), population, clients)

    def trained(self) -> Trained:
        """The state of the newest checkpoint, and the scenario that led to it; raises as ``model``."""
        from raysplit.analysis.runs.trained import read_trained
        from raysplit.storage.run_folder import RunFolder
        from raysplit.storage.stored_scenario import stored_scenario

        return read_trained(self.path, self.played or stored_scenario(RunFolder(self.path))[0])

    def updates(self, round: int, portion: Literal["client", "server"] = "client") -> RecordedRound:
        """What the fed server received in a round that ``Scenario.record_updates_every`` kept, mapped into memory.
        ``portion="server"``: what the main server received of its replicas.

        Raises ``RunError`` where that round was not recorded, or its file is damaged.
        """
        from raysplit.channels.channel import Channel
        from raysplit.storage.updates import path_of, read_updates, recorded_rounds

        channel = Channel.SERVER_UPDATES if portion == "server" else Channel.UPDATES
        there = recorded_rounds(self.path / "updates", channel)
        if round not in there:
            found = (
                f"it has rounds {', '.join(map(str, there))}"
                if there
                else "set Scenario.record_updates_every to have them"
            )
            whose = " of server replicas" if portion == "server" else ""
            raise RunError(f"{self.path} has no recorded updates{whose} of round {round}; {found}")
        return read_updates(path_of(self.path / "updates", round, channel))

    def summary(self) -> Summary:
        """Final, best and late accuracies of the test evaluations."""
        rows = [row for row in self.evaluations.to_pylist() if row["split"] == "test"]
        diverged = (
            self.state.status == "diverged"
            or any(row["diverged"] for row in rows)
            or any(self.rounds.column("diverged").to_pylist())
        )
        if not rows:
            return Summary(None, None, None, None, None, diverged)
        # An accuracy that is not a number loses against every number.
        best = max(rows, key=lambda row: -1.0 if math.isnan(row["accuracy"]) else row["accuracy"])
        late = [row["accuracy"] for row in rows[-5:]]
        return Summary(
            final=rows[-1]["accuracy"],
            final_round=rows[-1]["round"],
            best=best["accuracy"],
            best_round=best["round"],
            last5=sum(late) / len(late),
            diverged=diverged,
            late_evaluations=len(late),
        )


def open_run(path: str | os.PathLike[str]) -> Run:
    """Open a run folder for reading; safe at any moment of a run that is going on.

    Raises ``RunError`` where the folder is no run, where a table or JSON file is missing, damaged or of a newer format.
    """
    folder = Path(path)
    if not folder.exists():
        raise RunError(f"{folder} does not exist; give the folder of a run, such as runs/<name>-<hash>")
    if not folder.is_dir() or not (folder / "metrics").is_dir():
        raise RunError(f"{folder} is not a run folder: it has no metrics folder; give one such as runs/<name>-<hash>")
    tables = {}
    for name, schema in SCHEMAS.items():
        path = folder / "metrics" / f"{name}.arrow"
        tables[name] = schema.empty_table() if name in LATER and not path.exists() else read_table(path)
    return Run(
        path=folder,
        scenario=_read_json(folder / "scenario.json"),
        environment=_read_json(folder / "environment.json", missing={}),
        state=_state(folder, tables["rounds"]),
        **tables,
    )


def _state(folder: Path, rounds: pa.Table) -> State:
    record = _read_json(folder / "run.json", missing={})
    version = record.get("format", 1)
    if isinstance(version, int) and version > FORMAT:
        raise RunError(
            f"{folder} is a run of format {version}, newer than this RaySplit reads ({FORMAT}); upgrade RaySplit"
        )
    done = max(rounds.column("round").to_pylist(), default=0)
    status = record.get("status", "running")
    promised = record.get("rounds")
    state = State(
        status=status if isinstance(status, str) else "running",
        rounds=done,
        digest=record.get("digest") if isinstance(record.get("digest"), str) else None,
        record=record,
    )
    # Only of a finished run: while it goes on, the table may be ahead of run.json, and a diverged one may stop early.
    if status == "finished" and isinstance(promised, int) and done < promised:
        raise RunError(
            f"{folder / 'metrics' / 'rounds.arrow'} ends at round {done}, but the run finished at round {promised}; "
            "restore the file from a copy or run the scenario again"
        )
    return state


def _read_json(path: Path, missing: dict[str, Any] | None = None) -> dict[str, Any]:
    """The object in ``path``, or ``missing`` where that is given and there is no such file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if missing is not None:
            return missing
        raise RunError(f"{path.parent} is not a whole run folder: {path.name} is missing") from None
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} is damaged: {str(error).splitlines()[0]}; restore it from a copy") from None
    if not isinstance(value, dict):
        raise RunError(f"{path} is damaged: it should hold a JSON object, but holds {type(value).__name__}")
    return value
