"""Whether clipping and noise can be carried out as a scenario asks, and whether what it claims of privacy holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torch import nn

from raysplit.attacks.scheduled import singles
from raysplit.channels.channel import Channel
from raysplit.defenses.privacy.per_example_clipping import PerExampleClipping
from raysplit.errors import ScenarioError
from raysplit.models.fixed import travelling_buffers
from raysplit.models.outline import outline
from raysplit.protocols.requirements import as_written, client_and_server, steps_at_once

if TYPE_CHECKING:
    from raysplit.scenario.scenario import Scenario

UNCOVERED = frozenset(
    {
        Channel.SMASHED,
        Channel.FEATURES,
        Channel.FEATURE_GRADIENTS,
        Channel.CUT_GRADIENTS,
        Channel.RELAYED,
        Channel.RELAY_GRADIENTS,
    }
)
"""What clients and main server exchange of a batch: no noise is in it."""

_CARRIED_OUT = (
    client_and_server(
        "{component} clips what clients get back at one cut, but the parties of {protocol} form one site group; use a "
        "protocol such as SplitFedV1"
    ),
    steps_at_once(
        "{component} multiplies cut gradients by the batch size to get each sample's own, but the server of {protocol} "
        "mixes or delays those of several split steps; use a protocol such as SplitFedV1 or SplitFedV2"
    ),
    as_written(
        "{component} goes with protocols as their papers have them, but {protocol} is asked to do as published code "
        "does; leave as_published out"
    ),
)


def check_privacy(scenario: Scenario) -> None:
    """Raise ``ScenarioError`` where ``Scenario.privacy`` cannot be carried out, or claims what does not hold."""
    privacy = scenario.privacy
    if scenario.training.poisson_rate is not None:
        _check_poisson(scenario)
    if privacy is None:
        return
    for requirement in _CARRIED_OUT:
        requirement.check(privacy, scenario.setting)
    _check_network(scenario)
    if privacy.divisor(scenario.training.batch_size) is None:
        raise ScenarioError(
            "PerExampleClipping divides by a public number, never by how many samples a client has, but "
            "Training.batch_size is None; give expected_batch"
        )
    if privacy.guarantee:
        for why in _broken(scenario, privacy):
            raise ScenarioError(f"{why}, or guarantee=False to claim nothing")


_POISSON = (
    client_and_server(
        "{component}.poisson_rate draws batches of any size, but the parties of {protocol} form one site group; use a "
        "protocol such as SplitFedV1"
    ),
    steps_at_once(
        "{component}.poisson_rate draws batches of any size, but the server of {protocol} steps on those of several split "
        "steps; use a protocol such as SplitFedV1 or SplitFedV2"
    ),
)


def _check_poisson(scenario: Scenario) -> None:
    """Raise ``ScenarioError`` where something goes by sizes of batches that are known beforehand."""
    for requirement in _POISSON:
        requirement.check(scenario.training, scenario.setting)
    for field, value in (
        ("devices", scenario.devices),
        ("observe", scenario.observe),
        ("detection", scenario.detection),
    ):
        if value is not None:
            raise ScenarioError(
                f"Scenario.{field} goes by batches whose sizes are known beforehand, but Training.poisson_rate draws "
                f"them of any size; leave {field} out, or give a batch_size instead"
            )


def _check_network(scenario: Scenario) -> None:
    """Raise ``ScenarioError`` where samples of a batch meet in the network, on either side of the cut: then what one of
    them changes is in everybody's gradient."""
    for name, stage in outline(scenario.model):
        for module in stage.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training:
                raise ScenarioError(
                    f"PerExampleClipping needs samples that do not meet in a batch, but stage {name!r} of "
                    f"{type(scenario.model).__name__} has BatchNorm; use GroupNorm, or freeze it in evaluation mode"
                )
        if any(True for _ in travelling_buffers(stage)):
            raise ScenarioError(
                f"PerExampleClipping protects parameters, but stage {name!r} of {type(scenario.model).__name__} has "
                "floating buffers, which travel without noise; leave them out"
            )


def _broken(scenario: Scenario, privacy: PerExampleClipping) -> Iterator[str]:
    """Sentences without their end: why the guarantee would not hold, and what would be right."""
    if scenario.protocol.server != "none" and privacy.server_portion == "open":
        yield (
            "PerExampleClipping(server_portion='open') leaves the server portion without noise, and the gradients that "
            "it sends to all clients later tell of the samples that it trained on; use server_portion='clipped'"
        )
    if scenario.training.poisson_rate is not None and privacy.weights == "samples":
        yield (
            "PerExampleClipping(weights='samples') publishes how many samples a client has, which Poisson sampling "
            "protects; use weights='equal'"
        )
    if scenario.training.poisson_rate is not None and privacy.form == "thapa2022":
        yield (
            "PerExampleClipping(form='thapa2022') adds noise for every sample that a batch has, so under Poisson sampling "
            "its amount tells who is there; use form='abadi'"
        )
    if scenario.defense.roots or scenario.server_defense.roots:
        yield (
            f"{type(scenario.defense).__name__} has root clients train beside the cohort, whose steps are not counted; "
            "use a rule without them"
        )
    if scenario.detection is not None:
        yield (
            "PerExampleClipping covers what noise is added to, but Scenario.detection judges messages that carry none and "
            "decides by them what is learned; leave detection out"
        )
    for who, channels in seen_by(scenario):
        seen = sorted(channel.value for channel in channels & UNCOVERED)
        if seen:
            yield (
                f"PerExampleClipping protects updates, weights and the model, but the adversary of {who} sees "
                f"{', '.join(seen)}, which carry no noise; use another adversary"
            )


def seen_by(scenario: Scenario) -> Iterator[tuple[str, frozenset[Channel]]]:
    """Whose messages of honest clients an adversary sees: those of attacks, and of ``Scenario.observe``."""
    for attack in singles(scenario.attack):
        model = attack.threat_model
        if model.party == "main_server" or model.knowledge == "full":
            yield type(attack).__name__, model.sees | (model.changes if model.party == "main_server" else frozenset())
    if scenario.observe is not None:
        yield "Scenario.observe", frozenset(Channel(name) for name in scenario.observe.channels)
