"""A scenario: one experiment as a value. Typed, validated when built, printable, hashable, with a canonical JSON
form."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from raysplit.aggregation.rule import AggregationRule
from raysplit.aggregation.rules.mean import Mean
from raysplit.aggregation.rules.start_at_round import StartAtRound, rule_in_force
from raysplit.attacks.attack import Attack
from raysplit.channels.channel import Channel
from raysplit.defenses.detection.detection import Detection
from raysplit.errors import ScenarioError, nearest
from raysplit.models.network import ModelSpec, check_cut
from raysplit.parts.canonical import to_json
from raysplit.parts.part import part
from raysplit.population.population import PopulationSpec
from raysplit.population.selection.cohort import Cohort
from raysplit.population.selection.draws import Poisson, Uniform
from raysplit.population.selection.dropouts import Dropouts
from raysplit.protocols.as_published import AS_WRITTEN, published
from raysplit.protocols.buffered import BufferedSplitFed
from raysplit.protocols.joint import joint
from raysplit.protocols.protocol import (
    ClientState,
    ServerState,
    TrainingProtocol,
    check_server_step,
    check_synchrony,
    server_step,
    synchrony_of,
    waits,
)
from raysplit.protocols.topology import topology_of
from raysplit.scenario.attack_checks import check_attacks
from raysplit.scenario.cost_checks import check_known
from raysplit.scenario.detection_checks import check_detection
from raysplit.scenario.devices import Devices
from raysplit.scenario.stragglers import check_stragglers
from raysplit.training.settings import Training

FORMAT = 1
"""Version of the canonical form; a change of meaning raises it, so old hashes never name new runs."""


@part
class Evaluation:
    """Every ``every`` rounds and after the last, on the test sets of ``clients`` clients (None: all), the same ones
    each time.

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
    1, or b itself (graphs). Float32 samples are seen as they are. ``devices``: the machines from which virtual time is
    computed (None: no virtual time). ``record_updates_every``: of every so many rounds the matrix of updates that the
    fed server received, and that of server replicas, is kept under the run's ``updates``, n·d·4 bytes and more (None:
    of none). Part of the scenario, as recorded rounds take the mean over updates. ``detection``: who watches what
    clients bring to the main server (None: nobody). ``groups`` is part of the scenario because sums are taken group by
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

    def __post_init__(self) -> None:
        _check(self)

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
        """Taken once, when it is first asked for: what the user's own code reads may change while it runs."""
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


def _check(scenario: Scenario) -> None:
    protocol, training = scenario.protocol, scenario.training
    kind = type(protocol).__name__
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", scenario.name):
        raise ScenarioError(
            "Scenario.name names the run's folder, so it may hold letters, digits, '.', '_' and '-' (at most 80), "
            f"but it is {scenario.name!r}"
        )
    if scenario.checkpoint_every < 1:
        raise ScenarioError(
            f"Scenario.checkpoint_every must be at least 1 round, but it is {scenario.checkpoint_every}"
        )
    if scenario.record_updates_every is not None:
        _check_recording(scenario, scenario.record_updates_every)
    if scenario.groups is not None and scenario.groups < 1:
        raise ScenarioError(f"Scenario.groups must be at least 1, but it is {scenario.groups}")
    if getattr(scenario.model, "reads_bytes", False) and scenario.pixels != "bytes":
        raise ScenarioError(
            f"{type(scenario.model).__name__} reads packed graphs byte by byte, but Scenario.pixels is "
            f"{scenario.pixels!r}; use pixels='bytes'"
        )
    check_server_step(protocol)
    check_synchrony(protocol)
    if getattr(scenario.model, "smashed_varies", False) and waits(protocol):
        raise ScenarioError(
            f"{kind} puts the smashed data of many clients together, but {type(scenario.model).__name__} makes them "
            "as large as the "
            "largest graph of each batch; use gin(padded=True)"
        )
    _check_topology(scenario)
    if scenario.client_state == "travels" and protocol.client_sync != "handover":
        raise ScenarioError(
            f"Training(client_state='travels') needs a protocol with hand-over, but {kind} has none; use 'fresh' or "
            "'per_client'"
        )
    if scenario.server_state == "persistent" and protocol.server == "replicas":
        raise ScenarioError(
            f"Training(server_state='persistent') needs one shared server portion, but {kind} has replicas that are "
            "averaged; use 'fresh'"
        )
    if scenario.server_state == "each_batch" and server_step(protocol) != "visit":
        raise ScenarioError(
            f"server_state='each_batch' makes the server's optimiser anew after every visit, but {kind} has "
            f"server_step={server_step(protocol)!r}; use 'fresh' or 'persistent'"
        )
    if scenario.devices is not None:
        check_known(protocol, "virtual time", "; leave Scenario.devices out")
        check_stragglers(scenario.devices.stragglers, protocol, scenario.cohort)
    _check_published(scenario)
    _check_synchrony(scenario)
    if protocol.client_sync != "averaging":
        if not isinstance(scenario.defense, Mean):
            raise ScenarioError(
                f"{type(scenario.defense).__name__} aggregates updates at a fed server, but {kind} has no updates "
                "channel; leave defense out"
            )
        if training.aggregate is not None and protocol.server != "replicas":
            raise ScenarioError(
                f"Training.aggregate steps on aggregated portions, but {kind} aggregates nothing; leave it None"
            )
    if not isinstance(scenario.server_defense, Mean) and Channel.SERVER_UPDATES not in channels_of(protocol):
        raise ScenarioError(
            f"{type(scenario.server_defense).__name__} aggregates server replicas, but {kind} has no server_updates "
            "channel; leave server_defense out"
        )
    for rule in (scenario.defense, scenario.server_defense):
        if isinstance(rule, StartAtRound) and rule.start_round > training.rounds:
            raise ScenarioError(
                f"StartAtRound starts in round {rule.start_round}, but training ends after round {training.rounds}"
            )
    success_of, channels = scenario.evaluation.success_of, channels_of(protocol)
    check_attacks(scenario.attack, success_of, protocol, channels, scenario.cohort, training, scenario.model)
    if scenario.detection is not None:
        check_detection(scenario.detection, protocol)
    if scenario.cohort.dropouts is not None:
        _check_dropouts(protocol, scenario.cohort.dropouts)
    _check_trim(scenario, scenario.defense)
    _check_trim(scenario, scenario.server_defense)


def _check_recording(scenario: Scenario, every: int) -> None:
    protocol, kind = scenario.protocol, type(scenario.protocol).__name__
    if every < 1:
        raise ScenarioError(
            f"Scenario.record_updates_every must be at least 1 round or None for no record, but it is {every}"
        )
    if protocol.client_sync != "averaging" and protocol.server != "replicas":
        raise ScenarioError(
            f"Scenario.record_updates_every keeps updates as a fed server receives them, but {kind} has no updates "
            "channel; leave it out"
        )
    if published(protocol).weighting == "last_aliased":
        raise ScenarioError(
            f"{kind} as published takes a mean that is none, which cannot be taken over updates; leave "
            "record_updates_every out"
        )


def _check_dropouts(protocol: TrainingProtocol, dropouts: Dropouts) -> None:
    kind = type(protocol).__name__
    if protocol.client_sync == "one_party":
        raise ScenarioError(f"{kind} is one party that cannot drop out; leave Cohort.dropouts out")
    if protocol.client_sync == "handover" and dropouts.when == "after":
        raise ScenarioError(
            f"Dropouts(when='after') loses a portion on its way to a fed server, but {kind} hands portions over; use "
            "when='before'"
        )


def _check_topology(scenario: Scenario) -> None:
    protocol, kind = scenario.protocol, type(scenario.protocol).__name__
    topology, model = topology_of(protocol), type(scenario.model).__name__
    for labels in topology.labels:
        if labels is not None and len(labels) != scenario.model.classes:
            raise ScenarioError(
                f"Task.labels names the label of each class, so {model} needs {scenario.model.classes}, but there are "
                f"{len(labels)}"
            )
    if topology.kind == "vertical" and getattr(scenario.model, "reads_bytes", False):
        raise ScenarioError(
            f"{kind} cuts images into blocks, but {model} reads packed graphs, which have no {topology.along}; take a "
            "model of images"
        )
    if topology.kind != "pair" and (protocol.client_sync != "one_party" or protocol.server != "shared"):
        raise ScenarioError(
            f"the parties of {kind} form one site group, so it needs client_sync='one_party' and server='shared', but it "
            "has "
            f"{protocol.client_sync!r} and {protocol.server!r}"
        )
    check_cut(joint(scenario.model, protocol), split=protocol.server != "none", u_shaped=protocol.u_shaped)


def _check_published(scenario: Scenario) -> None:
    protocol, kind = scenario.protocol, type(scenario.protocol).__name__
    answers = published(protocol)
    if answers == AS_WRITTEN:
        return
    if protocol.u_shaped:
        raise ScenarioError(f"the published code of {kind} has no U-shape; leave as_published or u_shaped out")
    if protocol.client_sync not in ("averaging", "handover"):
        raise ScenarioError(
            f"published code is about client portions that meet, but {kind} has client_sync={protocol.client_sync!r}; "
            "leave published out"
        )
    if server_step(protocol) != "visit" or synchrony_of(protocol) != "synchronous":
        raise ScenarioError(
            f"published code steps after every visit and waits for everybody, but {kind} has "
            f"server_step={server_step(protocol)!r} and "
            f"synchrony={synchrony_of(protocol)!r}; leave published out"
        )
    if (odd := _uneven(scenario.cohort)) is not None:
        raise ScenarioError(f"the published code of {kind} has as many clients in every round; leave {odd} out")
    if scenario.devices is not None:
        raise ScenarioError(
            f"the published code of {kind} plays clients one after another, for which virtual time cannot be given; "
            "leave Scenario.devices or as_published out"
        )
    if answers.weighting == "last_aliased" and (not isinstance(scenario.defense, Mean) or scenario.attack is not None):
        raise ScenarioError(
            f"{kind} as published takes a mean that is none, which no rule and no attack can act on; leave defense "
            "and attack out"
        )
    acted = scenario.attack is not None and Channel.SERVER_UPDATES in scenario.attack.threat_model.changes
    if answers.replicas_meet == "all_collected" and (acted or not isinstance(scenario.server_defense, Mean)):
        raise ScenarioError(
            f"{kind} as published averages replicas in mid-round, where nothing can act on them; leave server_defense "
            "and attacks on them out"
        )
    if answers.replicas_meet == "all_collected" and scenario.training.aggregate is not None:
        raise ScenarioError(
            f"{kind} as published averages portions and takes no step on the average; leave Training.aggregate None"
        )


def _check_synchrony(scenario: Scenario) -> None:
    protocol, cohort, kind = scenario.protocol, scenario.cohort, type(scenario.protocol).__name__
    if synchrony_of(protocol) != "buffered":
        return
    if not isinstance(protocol, BufferedSplitFed):
        raise ScenarioError(
            f"synchrony='buffered' is what BufferedSplitFed does, but {kind} is another class; use that one"
        )
    if protocol.buffer > cohort.size:
        raise ScenarioError(
            f"{kind}.buffer is {protocol.buffer}, but a cohort of {cohort.size} has only so many under way; choose at "
            "most that"
        )
    odd = _uneven(cohort) or ("Cohort.draw" if not isinstance(cohort.draw, Uniform) else None)
    if odd is not None:
        raise ScenarioError(f"{kind} keeps a whole cohort under way and fills free places uniformly; leave {odd} out")


def _uneven(cohort: Cohort) -> str | None:
    """What would make rounds of different sizes, if anything does."""
    if cohort.dropouts is not None:
        return "Cohort.dropouts"
    if cohort.available is not None:
        return "Cohort.available"
    return "Cohort.draw=Poisson()" if isinstance(cohort.draw, Poisson) else None


def _check_trim(scenario: Scenario, rule: AggregationRule) -> None:
    rule = rule_in_force(rule, scenario.training.rounds)
    trim = getattr(rule, "trim", None)
    if trim is None:
        return
    size, what = scenario.cohort.size, "cohort"
    if isinstance(scenario.protocol, BufferedSplitFed):
        size, what = scenario.protocol.buffer, "buffer"
    count = trim if isinstance(trim, int) else scenario.cohort.assumed_among(size)
    if 2 * count >= size:
        raise ScenarioError(
            f"{type(rule).__name__} would cut {count} of {size} updates from each side and leave none; "
            f"a {what} of {size} bears at most {(size - 1) // 2}"
        )


def channels_of(protocol: TrainingProtocol) -> list[Channel]:
    """The channels over which a protocol's parties talk, in the order of the table in docs/design.md."""
    averaging, split = protocol.client_sync == "averaging", protocol.server != "none"
    present = {
        Channel.WEIGHTS: averaging,
        Channel.UPDATES: averaging,
        Channel.RELAYED: topology_of(protocol).kind == "extended",
        Channel.RELAY_GRADIENTS: topology_of(protocol).kind == "extended",
        Channel.SMASHED: split,
        Channel.CUT_GRADIENTS: split,
        Channel.FEATURES: split and protocol.u_shaped,
        Channel.FEATURE_GRADIENTS: split and protocol.u_shaped,
        Channel.HANDOVER: protocol.client_sync == "handover",
        Channel.SERVER_UPDATES: protocol.server == "replicas" and protocol.client_sync != "one_party",
    }
    return [channel for channel in Channel if present[channel]]


def with_changes(scenario: Scenario, changes: Mapping[str, Any]) -> Scenario:
    """``scenario`` with dotted fields replaced, each checked; raises ``ScenarioError`` naming the nearest valid
    field."""
    for path, value in changes.items():
        scenario = _replace_at(scenario, path.split("."), value, path)
    return scenario


def _replace_at(thing: Any, path: list[str], value: Any, full: str) -> Any:
    if not dataclasses.is_dataclass(thing) or isinstance(thing, type):
        raise ScenarioError(f"{full!r} cannot be set: {thing!r} has no parts; set the whole of it in the scenario file")
    names = [field.name for field in dataclasses.fields(thing) if field.init]
    if path[0] not in names:
        raise ScenarioError(
            f"{full!r} cannot be set: {type(thing).__name__} has no {path[0]!r}; {nearest(path[0], names)}"
        )
    new = value if len(path) == 1 else _replace_at(getattr(thing, path[0]), path[1:], value, full)
    return dataclasses.replace(thing, **{path[0]: new})


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
