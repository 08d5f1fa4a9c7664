"""What a component requires of the scenario that it is part of: conditions, each with the sentence for where it fails.

Every component (a rule, an attack, a detector, a protocol …) declares them in ``requires``.
``scenario/requirements.py`` checks all of a scenario's components when it is built; nobody else does. A sentence may
name ``{component}``, ``{protocol}`` and ``{model}``, which are class names, and by ``{answers.…}`` and ``{setting.…}``
what the protocol answers and what ``Setting`` knows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from raysplit.channels.channel import Channel
from raysplit.errors import ScenarioError
from raysplit.models.network import ModelSpec
from raysplit.models.outline import outline
from raysplit.population.selection.cohort import Cohort
from raysplit.population.selection.draws import Poisson
from raysplit.protocols.as_published import AS_WRITTEN

if TYPE_CHECKING:
    from raysplit.protocols.protocol import TrainingProtocol


@dataclass(frozen=True)
class Setting:
    """What a requirement may look at. ``batch_size``, ``local_epochs``: as in ``Training``."""

    protocol: TrainingProtocol
    model: ModelSpec
    cohort: Cohort
    batch_size: int | None
    local_epochs: int

    @property
    def clients(self) -> int:
        """Updates that a round brings to the fed server at most: the cohort's, or as many as a buffer holds."""
        return self.cohort.size if self.protocol.buffer is None else self.protocol.buffer

    @property
    def group(self) -> str:
        """What these clients are called."""
        return "cohort" if self.protocol.buffer is None else "buffer"

    @property
    def channels(self) -> str:
        """The protocol's channels in words."""
        return ", ".join(channel.value for channel in self.protocol.channels) or "none"

    @property
    def uneven(self) -> str | None:
        """What would make rounds of different sizes, if anything does."""
        if self.cohort.dropouts is not None:
            return "Cohort.dropouts"
        if self.cohort.available is not None:
            return "Cohort.available"
        return "Cohort.draw=Poisson()" if isinstance(self.cohort.draw, Poisson) else None


@dataclass(frozen=True)
class Requirement:
    """``holds`` of a scenario's setting, or ``otherwise`` is what its user is told."""

    holds: Callable[[Setting], bool]
    otherwise: str

    def check(self, component: object, setting: Setting) -> None:
        """Raise ``ScenarioError`` where ``component`` does not get what it requires."""
        if not self.holds(setting):
            raise ScenarioError(
                self.otherwise.format(
                    component=type(component).__name__,
                    protocol=type(setting.protocol).__name__,
                    model=type(setting.model).__name__,
                    answers=setting.protocol,
                    setting=setting,
                )
            )


def has_channel(channel: Channel, otherwise: str) -> Requirement:
    return Requirement(lambda setting: channel in setting.protocol.channels, otherwise)


def client_sync_is(*values: str, otherwise: str) -> Requirement:
    return Requirement(lambda setting: setting.protocol.client_sync in values, otherwise)


def server_is(*values: str, otherwise: str) -> Requirement:
    return Requirement(lambda setting: setting.protocol.server in values, otherwise)


def order_is(*values: str, otherwise: str) -> Requirement:
    return Requirement(lambda setting: setting.protocol.order in values, otherwise)


def synchrony_is(*values: str, otherwise: str) -> Requirement:
    return Requirement(lambda setting: setting.protocol.synchrony in values, otherwise)


def server_step_is(*values: str, otherwise: str) -> Requirement:
    return Requirement(lambda setting: setting.protocol.server_step in values, otherwise)


def labels_at_server(otherwise: str) -> Requirement:
    return Requirement(lambda setting: not setting.protocol.u_shaped, otherwise)


def steps_at_once(otherwise: str) -> Requirement:
    """A server portion that steps after every split step, and waits for everybody."""
    return Requirement(
        lambda setting: setting.protocol.server_step == "split_step" and setting.protocol.synchrony == "synchronous",
        otherwise,
    )


def client_and_server(otherwise: str) -> Requirement:
    """Clients that each talk to one main server: no site group."""
    return Requirement(lambda setting: setting.protocol.topology.kind == "pair", otherwise)


def as_written(otherwise: str) -> Requirement:
    """The protocol as its paper has it, not as published code does it."""
    return Requirement(lambda setting: setting.protocol.published == AS_WRITTEN, otherwise)


def steps_in_round(least: int, otherwise: str) -> Requirement:
    """A client that takes ``least`` steps or more in a round, where it has the samples."""
    return Requirement(
        lambda setting: setting.batch_size is not None or setting.local_epochs >= least,
        otherwise,
    )


def batch_of(least: int, otherwise: str) -> Requirement:
    """``least`` samples or more a step, where a client has them."""
    return Requirement(lambda setting: setting.batch_size is None or setting.batch_size >= least, otherwise)


def images(otherwise: str) -> Requirement:
    return Requirement(lambda setting: not setting.model.reads_bytes, otherwise)


def fixed_smashed_shape(otherwise: str) -> Requirement:
    return Requirement(lambda setting: not setting.model.smashed_varies, otherwise)


def no_batch_norm(otherwise: str) -> Requirement:
    """A model in which no sample's gradient depends on the other samples of its batch."""
    return Requirement(lambda setting: not _normalises_batches(setting.model), otherwise)


def _normalises_batches(model: ModelSpec) -> bool:
    stages = [stage for _, stage in outline(model)]
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for stage in stages for module in stage.modules())
