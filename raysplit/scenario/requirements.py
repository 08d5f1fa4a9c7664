"""Whether a scenario can be run as it is meant: the one place where all that its components require is checked.

What a component requires by itself it says in ``requires`` (``protocols/requirements.py``). Here are those components
put together, and what their places in a scenario add: a rule needs updates to aggregate, an attack malicious clients
and rounds to come, and a rule as many clients as it assumes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from raysplit.aggregation.rule import check_clients
from raysplit.aggregation.rules.mean import Mean
from raysplit.aggregation.update_attack import UpdateAttack
from raysplit.attacks.attack import Attack
from raysplit.attacks.data.data_attack import DataAttack
from raysplit.attacks.data.poisoning import measured
from raysplit.attacks.messages.hook_attack import HookAttack
from raysplit.attacks.messages.message_attack import MessageAttack
from raysplit.attacks.scheduled import singles
from raysplit.attacks.steps.step_attack import StepAttack
from raysplit.channels.channel import Channel
from raysplit.errors import ScenarioError
from raysplit.models.network import check_cut
from raysplit.parts.contract import check_answers
from raysplit.population.partition.feature_skew import NoiseLevels, Rotations
from raysplit.population.partition.partitioned import Partitioned
from raysplit.population.selection.draws import Poisson
from raysplit.population.selection.dropouts import Dropouts
from raysplit.protocols.consistency import check_values, requirements_of
from raysplit.protocols.joint import joint
from raysplit.protocols.requirements import Requirement, Setting, client_sync_is, has_channel, images
from raysplit.scenario.client_privacy_check import check_client_privacy
from raysplit.scenario.message_check import check_message_defenses
from raysplit.scenario.noise_check import check_noise_layer
from raysplit.scenario.privacy_check import check_privacy
from raysplit.scenario.secure_check import check_secure_aggregation

if TYPE_CHECKING:
    from raysplit.scenario.scenario import Scenario

Required = Iterable[tuple[object, Requirement]]
"""Components, each with something that it requires"""


def check_requirements(scenario: Scenario) -> None:
    """Raise ``ScenarioError`` for a component that misspells an answer, or does not get what it requires."""
    for component in components(scenario):
        check_answers(type(component))
        _check_finite(component)
    protocol, setting = scenario.protocol, scenario.setting
    check_values(protocol)
    _check_all(setting, ((protocol, requirement) for requirement in requirements_of(protocol)))
    check_noise_layer(scenario)
    check_cut(joint(scenario.model, protocol), split=protocol.server != "none", u_shaped=protocol.u_shaped)
    _check_all(setting, _of_training(scenario))
    _check_all(setting, _of_rules(scenario))
    _check_attacks(scenario)
    _check_all(setting, _of_detection(scenario))
    _check_clients(scenario)
    check_privacy(scenario)
    check_client_privacy(scenario)
    check_secure_aggregation(scenario)
    check_message_defenses(scenario)


def components(part: Any) -> Iterator[object]:
    """A part and all parts within it."""
    if isinstance(part, tuple):
        for item in part:
            yield from components(item)
    if dataclasses.is_dataclass(part) and not isinstance(part, type):
        yield part
        for field in dataclasses.fields(part):
            yield from components(getattr(part, field.name))


def _check_finite(component: object) -> None:
    """Raise ``ScenarioError`` for a number that is infinite or none: it has no canonical form, hence no hash."""
    assert dataclasses.is_dataclass(component)
    for field in dataclasses.fields(component):
        value = getattr(component, field.name)
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, float) and not math.isfinite(number):
                raise ScenarioError(
                    f"{type(component).__name__}.{field.name} must be a finite number, but it is {number}; give a large "
                    "number such as 1e30 for no bound"
                )


def _check_all(setting: Setting, required: Required) -> None:
    for component, requirement in required:
        requirement.check(component, setting)


def _of_training(scenario: Scenario) -> Required:
    """What the pixels, the training, virtual time and the record of updates require."""
    yield (
        scenario,
        Requirement(
            lambda setting: not setting.model.reads_bytes or scenario.pixels == "bytes",
            f"{{model}} reads packed graphs or texts byte by byte, but Scenario.pixels is {scenario.pixels!r}; use "
            "pixels='bytes'",
        ),
    )
    features = scenario.population.features if isinstance(scenario.population, Partitioned) else None
    if isinstance(features, NoiseLevels | Rotations):
        yield (
            features,
            images("{component} changes pixels, but {model} reads packed graphs or texts; leave features out"),
        )
    yield from ((scenario.training, requirement) for requirement in scenario.training.requires)
    if scenario.devices is not None:
        yield from ((scenario.devices, requirement) for requirement in scenario.devices.requires)
        policy = scenario.devices.stragglers
        yield from ((policy, requirement) for requirement in policy.requires)
    if scenario.observe is not None:
        yield from ((scenario.observe, requirement) for requirement in scenario.observe.requires)
        for round in scenario.observe.rounds:
            _check_start(scenario.observe, round, scenario.training.rounds)
    if scenario.record_updates_every is not None:
        yield from ((scenario, requirement) for requirement in _RECORDED)
    if scenario.cohort.dropouts is not None:
        yield from ((scenario.cohort, requirement) for requirement in _of_dropouts(scenario.cohort.dropouts))


_RECORDED = (
    Requirement(
        lambda setting: setting.protocol.client_sync == "averaging" or setting.protocol.server == "replicas",
        "Scenario.record_updates_every keeps updates as a fed server receives them, but {protocol} has no updates "
        "channel; leave it out",
    ),
    Requirement(
        lambda setting: setting.protocol.published.weighting != "last_aliased",
        "{protocol} as published takes a mean that is none, which cannot be taken over updates; leave "
        "record_updates_every out",
    ),
)


def _of_dropouts(dropouts: Dropouts) -> Iterator[Requirement]:
    yield client_sync_is(
        "averaging",
        "handover",
        "personal",
        otherwise="{protocol} is one party that cannot drop out; leave Cohort.dropouts out",
    )
    if dropouts.when == "after":
        yield client_sync_is(
            "averaging",
            "personal",
            otherwise="Dropouts(when='after') loses a portion on its way to a fed server, but {protocol} hands portions "
            "over; use when='before'",
        )


_ON_PORTIONS = Requirement(
    lambda setting: setting.protocol.published.weighting != "last_aliased",
    "{protocol} as published takes a mean that is none, which no rule and no attack can act on; leave defense and "
    "attack out",
)
_ON_REPLICAS = Requirement(
    lambda setting: setting.protocol.published.replicas_meet != "all_collected",
    "{protocol} as published averages replicas in mid-round, where nothing can act on them; leave server_defense and "
    "attacks on them out",
)


def _of_rules(scenario: Scenario) -> Required:
    if not isinstance(scenario.defense, Mean):
        yield scenario.defense, _ON_PORTIONS
        yield (
            scenario.defense,
            client_sync_is(
                "averaging",
                otherwise="{component} aggregates updates at a fed server, but {protocol} has no updates channel; leave "
                "defense out",
            ),
        )
    if not isinstance(scenario.server_defense, Mean):
        yield scenario.server_defense, _ON_REPLICAS
        yield (
            scenario.server_defense,
            has_channel(
                Channel.SERVER_UPDATES,
                "{component} aggregates server replicas, but {protocol} has no server_updates channel; leave "
                "server_defense out",
            ),
        )
    for rule in (scenario.defense, scenario.server_defense):
        _check_start(rule, rule.start_round, scenario.training.rounds)


def _of_detection(scenario: Scenario) -> Required:
    detection = scenario.detection
    if detection is not None:
        for detector in (detection, *detection.screens, detection.rollback, *detection.at_clients):
            if detector is not None:
                yield from ((detector, requirement) for requirement in detector.requires)


def _check_attacks(scenario: Scenario) -> None:
    setting, attack, success_of = scenario.setting, scenario.attack, scenario.evaluation.success_of
    _check_all(setting, _of_attacks(attack))
    if attack is not None:
        _check_malicious(attack, scenario)
        _check_makers(attack)
        _check_steps(attack)
        _check_start(attack, attack.start_round, scenario.training.rounds)
    for single in (*singles(attack), *singles(success_of)):
        single.fits(scenario.model)
    if success_of is not None:
        if not measured(success_of):
            raise ScenarioError(
                "Evaluation.success_of takes an attack with a goal, such as a backdoor or a targeted flip, but "
                f"{type(success_of).__name__} has none; leave it out"
            )
        tried_at_cut = (single for single in singles(success_of) if isinstance(single, MessageAttack))
        _check_all(setting, ((single, need) for single in tried_at_cut for need in _of_single(single)))


def _of_attacks(attack: Attack | None) -> Required:
    for single in singles(attack):
        for requirement in _of_single(single):
            yield single, requirement


def _of_single(single: Attack) -> Iterator[Requirement]:
    """What one attack requires: its kind, the channels of its threat model, and what it says itself."""
    yield Requirement(
        lambda _: isinstance(single, UpdateAttack | DataAttack | MessageAttack | HookAttack | StepAttack),
        "{component} says when it attacks but not what: derive it from UpdateAttack, DataAttack, MessageAttack, "
        "HookAttack or StepAttack",
    )
    changes = single.threat_model.changes
    for channel in sorted(changes | single.threat_model.sees):
        yield has_channel(
            channel,
            f"{{component}}'s threat model names the channel '{channel.value}', which {{protocol}} does not have; its "
            "channels are {setting.channels}",
        )
    yield _ON_PORTIONS
    if Channel.SERVER_UPDATES in changes:
        yield _ON_REPLICAS
    yield from single.requires


def _check_malicious(attack: Attack, scenario: Scenario) -> None:
    """Raise ``ScenarioError`` where malicious clients would attack and there are none in any cohort, as far as the
    cohort alone says (``malicious_check.py`` asks the population)."""
    cohort = scenario.cohort
    for single in singles(attack):
        if single.threat_model.party != "clients":
            continue
        name = type(single).__name__
        if cohort.malicious == 0:
            raise ScenarioError(
                f"{name} needs malicious clients, but Cohort.malicious is 0; give a share such as 0.2 or leave attack "
                "out"
            )
        if cohort.of == "cohort" and not isinstance(cohort.draw, Poisson) and cohort.assumed == 0:
            raise ScenarioError(
                f"{name} needs malicious clients, but Cohort.malicious={cohort.malicious:g} of a cohort of "
                f"{cohort.size} is nobody; give a share such as {1 / cohort.size:.2g} or leave attack out"
            )


def _check_makers(attack: Attack) -> None:
    """Raise ``ScenarioError`` where two attacks would make the same updates."""
    for channel in (Channel.UPDATES, Channel.SERVER_UPDATES):
        makers = [
            type(single).__name__
            for single in singles(attack)
            if isinstance(single, UpdateAttack) and channel in single.threat_model.changes
        ]
        if len(makers) > 1:
            raise ScenarioError(
                f"one attack at most can make the {channel.value} of malicious clients, but {' and '.join(makers)} "
                "both would; choose one"
            )


def _check_steps(attack: Attack) -> None:
    """Raise ``ScenarioError`` where two attacks would take the same split steps."""
    takers = [type(single).__name__ for single in singles(attack) if isinstance(single, StepAttack)]
    if len(takers) > 1:
        raise ScenarioError(
            f"one attack at most can take a malicious client's split steps, but {' and '.join(takers)} both would; "
            "choose one"
        )


def _check_start(component: object, start: int, rounds: int) -> None:
    """Raise ``ScenarioError`` where something starts after the last round."""
    if start > rounds:
        raise ScenarioError(
            f"{type(component).__name__} starts in round {start}, but training ends after round {rounds}"
        )


def _check_clients(scenario: Scenario) -> None:
    """Raise ``ScenarioError`` where a rule, or one within it, needs more updates than a round can bring it."""
    setting, cohort = scenario.setting, scenario.cohort
    check_clients(scenario.defense, setting.clients, cohort.assumed_among(setting.clients), setting.group)
    check_clients(scenario.server_defense, cohort.size, cohort.assumed_among(cohort.size))
