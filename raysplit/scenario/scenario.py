"""A scenario: one experiment as a value. Typed, validated when built, printable, hashable, with a canonical JSON
form."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from typing import Any, Literal

from raysplit.aggregation.rule import AggregationRule
from raysplit.aggregation.rules.mean import Mean
from raysplit.attacks.attack import Attack
from raysplit.attacks.inference.observe import Observe
from raysplit.defenses.detection.detection import Detection
from raysplit.defenses.messages.message_defense import MessageDefense
from raysplit.defenses.privacy.per_example_clipping import PerExampleClipping
from raysplit.errors import ScenarioError
from raysplit.models.network import ModelSpec
from raysplit.parts.canonical import added_later, to_json
from raysplit.parts.part import part
from raysplit.population.population import PopulationSpec
from raysplit.population.selection.cohort import Cohort
from raysplit.protocols.protocol import ClientState, ServerState, TrainingProtocol
from raysplit.protocols.requirements import Setting
from raysplit.scenario.changes import with_changes
from raysplit.scenario.devices import Devices
from raysplit.scenario.requirements import check_requirements
from raysplit.training.settings import Training

FORMAT = 1
"""Version of the canonical form; a change of meaning raises it, so old hashes never name new runs."""


@part
class Evaluation:
    """Every ``every`` rounds and after the last, on the test sets of ``clients`` clients (None: all), the same ones
    each time; of a population with unseen clients on theirs alone.

    Where the scenario's attack has a goal (a backdoor, a targeted flip) its success is measured too, from round 1 on.
    ``success_of``: measure this attack's success instead, whether or not anybody carries it out: so a clean run tells
    how often the model answers as the adversary wishes by itself.
    """

    every: int = 1
    clients: int | None = 500
    success_of: Attack | None = None

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ScenarioError(f"Evaluation.every must be at least 1 round, but it is {self.every}")
        if self.clients is not None and self.clients < 1:
            raise ScenarioError(f"Evaluation.clients must be at least 1 or None for all, but it is {self.clients}")


@part
class Scenario:
    """One experiment. ``name`` goes into the run folder; ``groups``: client groups a cohort is cut into (None: by its
    size).

    ``defense``: the fed server's rule for client portions; ``server_defense``: the main server's for its replicas
    (SplitFedV1, V3). ``pixels``: what the network sees of a byte b: b/255, 1 − b/255 (ink 1 on background 0), b/127.5 −
    1, or b itself (graphs, texts). Float32 samples are seen as they are. ``devices``: the machines from which virtual time is
    computed (None: no virtual time). ``record_updates_every``: of every so many rounds the matrix of updates that the
    fed server received, and that of server replicas, is kept under the run's ``updates``, n·d·4 bytes and more (None:
    of none). Part of the scenario, as recorded rounds take the mean over updates. ``detection``: who watches what
    clients bring to the main server (None: nobody). ``observe``: what an adversary keeps of messages, for
    ``raysplit infer`` (None: nothing). ``privacy``: how clients' gradients come about so that the model tells little of
    any one sample (None: those of the mean loss). ``message_defenses``: what honest parties do to their messages so that
    these tell less, one after another; malicious ones do not obey. ``groups`` is part of the scenario because sums are taken group by
    group: changing it changes last bits, the cluster never does. Raises ``ScenarioError`` for any combination that
    cannot be run as meant.
    """

    name: str
    population: PopulationSpec
    model: ModelSpec
    protocol: TrainingProtocol
    cohort: Cohort
    training: Training
    attack: Attack | None = None
    defense: AggregationRule = Mean()
    evaluation: Evaluation = Evaluation()
    checkpoint_every: int = 50
    pixels: Literal["unit", "inverted", "centred", "bytes"] = "unit"
    groups: int | None = None
    seed: int = 42
    devices: Devices | None = None
    record_updates_every: int | None = None
    server_defense: AggregationRule = Mean()
    detection: Detection | None = None
    observe: Observe | None = added_later(None)
    privacy: PerExampleClipping | None = added_later(None)
    message_defenses: tuple[MessageDefense, ...] = added_later(())

    def __post_init__(self) -> None:
        _check_own(self)
        check_requirements(self)

    @property
    def client_state(self) -> ClientState:
        """The client optimiser-state policy in force."""
        return self.training.client_state or self.protocol.client_state

    @property
    def server_state(self) -> ServerState:
        """The server optimiser-state policy in force."""
        return self.training.server_state or self.protocol.server_state

    @property
    def group_count(self) -> int:
        """Client groups of a cohort: by default 8, more for large cohorts (16 clients a group)."""
        if self.groups is not None:
            return min(self.groups, self.cohort.size)
        return min(self.cohort.size, max(8, self.cohort.size // 16))

    def to_json(self) -> dict[str, Any]:
        """The canonical form: every field of every part, with its type."""
        return dict(self._form)

    @functools.cached_property
    def _form(self) -> dict[str, Any]:
        """Taken once, when it is first needed: what the user's own code reads may change while it runs."""
        return {"format": FORMAT, **to_json(self)}

    @functools.cached_property
    def hash(self) -> str:
        """Ten hex digits of the canonical form's sha256, without the name: what the run computes, not what it is
        called."""
        form = {key: value for key, value in self._form.items() if key != "name"}
        canonical = json.dumps(form, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(canonical.encode()).hexdigest()[:10]

    def replace(self, **changes: Any) -> Scenario:
        """A copy with some fields changed, checked again; dotted names reach into parts: ``replace(**{"training.lr":
        0.01})``."""
        return with_changes(self, changes)

    @property
    def setting(self) -> Setting:
        """What the components of this scenario may require something of."""
        training = self.training
        return Setting(self.protocol, self.model, self.cohort, training.batch_size, training.local_epochs)


def _check_own(scenario: Scenario) -> None:
    """Raise ``ScenarioError`` for a field of the scenario's own that is out of range."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", scenario.name):
        raise ScenarioError(
            "Scenario.name names the run's folder, so it may hold letters, digits, '.', '_' and '-' (at most 80), "
            f"but it is {scenario.name!r}"
        )
    if scenario.checkpoint_every < 1:
        raise ScenarioError(
            f"Scenario.checkpoint_every must be at least 1 round, but it is {scenario.checkpoint_every}"
        )
    if scenario.record_updates_every is not None and scenario.record_updates_every < 1:
        raise ScenarioError(
            "Scenario.record_updates_every must be at least 1 round or None for no record, but it is "
            f"{scenario.record_updates_every}"
        )
    if scenario.groups is not None and scenario.groups < 1:
        raise ScenarioError(f"Scenario.groups must be at least 1, but it is {scenario.groups}")
