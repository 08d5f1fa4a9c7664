"""What a protocol's answers require: each of the others, and of the scenario that it is part of."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from functools import cache
from typing import Any

from raysplit.errors import ScenarioError
from raysplit.parts.contract import answer, answers_of
from raysplit.parts.part import describe, matches
from raysplit.protocols.as_published import AS_WRITTEN
from raysplit.protocols.protocol import TrainingProtocol
from raysplit.protocols.requirements import (
    Requirement,
    client_sync_is,
    fixed_smashed_shape,
    images,
    labels_at_server,
    order_is,
    steps_at_once,
)


def check_values(protocol: TrainingProtocol) -> None:
    """Raise ``ScenarioError`` for an answer that is none of those there are, in whatever form it was given."""
    for name, hint in _hints().items():
        value = getattr(protocol, name)
        if not matches(value, hint):
            raise ScenarioError(f"{type(protocol).__name__}.{name} must be {describe(hint)}, but it is {value!r}")


@cache
def _hints() -> dict[str, Any]:
    """The type of every answer, by its name."""
    return {
        name: typing.get_type_hints(vars(declared)["default"])["return"]
        for name, declared in answers_of(TrainingProtocol).items()
        if isinstance(declared, answer)
    }


def requirements_of(protocol: TrainingProtocol) -> Iterator[Requirement]:
    """All that follows from a protocol's answers, and what it requires besides."""
    yield from _of_server_step(protocol)
    yield from _of_synchrony(protocol)
    yield from _of_waiting(protocol)
    yield from _of_topology(protocol)
    yield from _of_published(protocol)
    if protocol.synchrony != "synchronous":
        yield Requirement(
            lambda setting: type(setting.protocol).plan is not TrainingProtocol.plan,
            "{protocol}.synchrony={answers.synchrony!r} needs a plan() of {protocol}'s own, which says who takes which of its "
            "steps in a round; see BufferedSplitFed",
        )
    yield from protocol.requires


def _of_server_step(protocol: TrainingProtocol) -> Iterator[Requirement]:
    if protocol.server_step == "split_step":
        return
    yield Requirement(
        lambda setting: setting.protocol.server == "shared" and setting.protocol.client_sync != "handover",
        "{protocol}.server_step={answers.server_step!r} needs one shared server portion that many clients use side by "
        "side, but {protocol} has server={answers.server!r} and client_sync={answers.client_sync!r}; leave server_step "
        "out",
    )
    if protocol.server_step != "round":
        yield order_is(
            "interleaved",
            otherwise="{protocol}.server_step={answers.server_step!r} takes everybody's batch before anybody's next, "
            "but {protocol} has order={answers.order!r}; use 'interleaved'",
        )
    if protocol.waits:
        yield labels_at_server(
            "{protocol}.server_step={answers.server_step!r} needs the labels at the main server, but {protocol} is "
            "U-shaped; use server_step 'step' or u_shaped=False"
        )


def _of_synchrony(protocol: TrainingProtocol) -> Iterator[Requirement]:
    if protocol.synchrony == "synchronous":
        return
    yield Requirement(
        lambda setting: (
            setting.protocol.server == "shared"
            and setting.protocol.server_step == "split_step"
            and not setting.protocol.u_shaped
        ),
        "{protocol}.synchrony={answers.synchrony!r} needs one shared server portion that has the labels and steps "
        "after every split step, but {protocol} has server={answers.server!r}, server_step={answers.server_step!r} "
        "and u_shaped={answers.u_shaped}; leave synchrony out",
    )
    allowed = ("averaging",) if protocol.synchrony == "buffered" else ("averaging", "handover")
    yield client_sync_is(
        *allowed,
        otherwise="{protocol}.synchrony={answers.synchrony!r} is about client portions that meet by "
        + " or ".join(allowed)
        + ", but {protocol} has client_sync={answers.client_sync!r}; leave synchrony out",
    )
    if protocol.client_sync == "handover":
        yield order_is(
            "client_major",
            otherwise="{protocol}.synchrony={answers.synchrony!r} lets a client take its whole local round, but "
            "{protocol} has order={answers.order!r}; use 'client_major'",
        )
    if protocol.synchrony == "loss_drop":
        yield Requirement(
            lambda setting: setting.protocol.threshold is not None,
            "{protocol}.synchrony='loss_drop' needs a {protocol}.threshold, in nats; see AsyncSplitFed",
        )


def _of_waiting(protocol: TrainingProtocol) -> Iterator[Requirement]:
    if protocol.waits:
        yield fixed_smashed_shape(
            "{protocol} puts the smashed data of many clients together, but {model} makes them as large as the largest "
            "graph of each batch; use gin(padded=True)"
        )


def _of_topology(protocol: TrainingProtocol) -> Iterator[Requirement]:
    topology = protocol.topology
    yield from (_one_label_a_class(len(labels)) for labels in topology.labels if labels is not None)
    if topology.kind == "vertical":
        yield images(
            "{protocol} cuts images into blocks, but {model} reads packed graphs or texts, which have no "
            "{answers.topology.along}; take a model of images"
        )
    if topology.kind != "pair":
        yield Requirement(
            lambda setting: setting.protocol.client_sync == "one_party" and setting.protocol.server == "shared",
            "the parties of {protocol} form one site group, so it needs client_sync='one_party' and server='shared', "
            "but it has {answers.client_sync!r} and {answers.server!r}",
        )


def _one_label_a_class(count: int) -> Requirement:
    return Requirement(
        lambda setting: setting.model.classes == count,
        "Task.labels names the label of each class, so {model} needs {setting.model.classes}, but there are "
        f"{count}",
    )


def _of_published(protocol: TrainingProtocol) -> Iterator[Requirement]:
    if protocol.published == AS_WRITTEN:
        return
    yield labels_at_server("the published code of {protocol} has no U-shape; leave as_published or u_shaped out")
    yield client_sync_is(
        "averaging",
        "handover",
        otherwise="published code is about client portions that meet, but {protocol} has "
        "client_sync={answers.client_sync!r}; leave published out",
    )
    yield steps_at_once(
        "published code steps after every split step and waits for everybody, but {protocol} has "
        "server_step={answers.server_step!r} and synchrony={answers.synchrony!r}; leave published out"
    )
    yield Requirement(
        lambda setting: setting.uneven is None,
        "the published code of {protocol} has as many clients in every round; leave {setting.uneven} out",
    )
