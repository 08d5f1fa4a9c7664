"""The machines that a scenario imagines: how fast each client, the main server and the fed server compute and talk.

The presets are round figures for what such a machine keeps up in training, far below its peak; they are no
measurements. Put your own in a scenario file.
"""

from __future__ import annotations

import math
from typing import Protocol, get_args, runtime_checkable

import numpy as np

from raysplit import rng
from raysplit.errors import ScenarioError
from raysplit.parts.part import part
from raysplit.protocols.protocol import ServerStep
from raysplit.protocols.requirements import Requirement, as_written, server_step_is, synchrony_is
from raysplit.scenario.stragglers import StragglerPolicy, Wait


@part
class DeviceProfile:
    """``flops``: FLOP/s kept up in training; ``up``, ``down``: bytes/s that it sends and receives; ``latency``: seconds
    that its end of the line adds to every message. ``name`` is for the tables. As a fleet: every client is the same.
    """

    flops: float
    up: float
    down: float
    latency: float = 0.0
    name: str = ""

    def __post_init__(self) -> None:
        for field in ("flops", "up", "down"):
            value = getattr(self, field)
            if not 0 < value < math.inf:
                raise ScenarioError(f"DeviceProfile.{field} must be a number above 0, but it is {value!r}")
        if not 0 <= self.latency < math.inf:
            raise ScenarioError(f"DeviceProfile.latency must be at least 0 seconds, but it is {self.latency!r}")

    def draw(self, stream: np.random.Generator) -> DeviceProfile:
        return self


SENSOR = DeviceProfile(flops=1e9, up=0.25e6, down=0.5e6, latency=0.05, name="sensor")
"""A single-board computer or sensor node: 1 GFLOP/s, 2 Mbit/s up, 4 Mbit/s down. Round figures."""
PHONE = DeviceProfile(flops=10e9, up=1.25e6, down=5e6, latency=0.025, name="phone")
"""A phone on a mobile network: 10 GFLOP/s, 10 Mbit/s up, 40 Mbit/s down. Round figures."""
LAPTOP = DeviceProfile(flops=100e9, up=5e6, down=25e6, latency=0.01, name="laptop")
"""A laptop at home: 100 GFLOP/s, 40 Mbit/s up, 200 Mbit/s down. Round figures."""
DATACENTER = DeviceProfile(flops=10e12, up=1.25e9, down=1.25e9, latency=0.001, name="datacenter")
"""A server with a training accelerator: 10 TFLOP/s, 10 Gbit/s both ways. Round figures."""


@runtime_checkable
class Fleet(Protocol):
    """How machines are spread over clients; a frozen dataclass."""

    def draw(self, stream: np.random.Generator) -> DeviceProfile:
        """One client's machine, from a stream of its own."""
        ...


@part
class DeviceClass:
    """A share of the clients that have one kind of machine."""

    share: float
    device: DeviceProfile


@part
class DeviceClasses:
    """Kinds of machines and their shares, which must add up to 1. A client's kind is sampled once, independently of the
    others'."""

    classes: tuple[DeviceClass, ...]

    def __post_init__(self) -> None:
        shares = [c.share for c in self.classes]
        if not shares or min(shares) <= 0 or abs(math.fsum(shares) - 1) > 1e-9:
            raise ScenarioError(
                f"the shares of DeviceClasses must be above 0 and add up to 1, but they are {', '.join(f'{s:g}' for s in shares) or 'none'}"
            )

    def draw(self, stream: np.random.Generator) -> DeviceProfile:
        edges = np.cumsum([c.share for c in self.classes])
        return self.classes[min(int(np.searchsorted(edges, stream.random(), "right")), len(edges) - 1)].device


@part
class LogNormalDevices:
    """Speeds spread log-normally around ``median``: FLOP/s with standard deviation ``compute_sigma`` of the logarithm,
    the link, in both directions by the same factor, with ``bandwidth_sigma``. Latency is the median's.
    """

    median: DeviceProfile
    compute_sigma: float = 0.5
    bandwidth_sigma: float = 0.5

    def __post_init__(self) -> None:
        for field in ("compute_sigma", "bandwidth_sigma"):
            value = getattr(self, field)
            if not 0 <= value <= 5:
                raise ScenarioError(f"LogNormalDevices.{field} must lie in 0 … 5, but it is {value!r}")

    def draw(self, stream: np.random.Generator) -> DeviceProfile:
        normal = stream.standard_normal(2)
        compute, link = math.exp(self.compute_sigma * normal[0]), math.exp(self.bandwidth_sigma * normal[1])
        middle = self.median
        return DeviceProfile(
            middle.flops * compute, middle.up * link, middle.down * link, middle.latency, middle.name or "drawn"
        )


def foreseeable(what: str, instead: str = "") -> tuple[Requirement, ...]:
    """That the order of events in a round is one that the cost model knows. A protocol that gives other answers is
    refused, never costed as if it were another. ``what``: what cannot be given then; ``instead``: what to do."""
    return (
        Requirement(
            lambda setting: (setting.protocol.client_sync, setting.protocol.server) in _FORESEEN,
            "{protocol} has client_sync={answers.client_sync!r} with server={answers.server!r}, for which "
            f"{what} cannot be given{instead}",
        ),
        server_step_is(
            *get_args(ServerStep),
            otherwise="{protocol} has server_step={answers.server_step!r}, for which "
            f"{what} cannot be given{instead}",
        ),
        synchrony_is(
            "synchronous",
            otherwise=f"{{protocol}} has synchrony={{answers.synchrony!r}}, for which {what} cannot be given{instead}",
        ),
    )


_FORESEEN = {
    ("one_party", "none"),
    ("averaging", "none"),
    ("averaging", "replicas"),
    ("averaging", "shared"),
    ("personal", "replicas"),
    ("personal", "shared"),
    ("handover", "shared"),
}


@part
class Devices:
    """The machines of a scenario, from which its virtual time is computed (docs/costs.md). They change no weight unless
    clients are late.

    ``clients``: a fleet, or one profile for all; ``server``: the main server, ``fed_server``: the fed server and the
    store of a central hand-over. ``replicas_at_once``: how many steps on replicas (SplitFedV1) the main server computes
    side by side, each at its full FLOP/s, before others wait (None: all). ``stragglers``: what becomes of clients that
    are late.
    """

    clients: Fleet = PHONE
    server: DeviceProfile = DATACENTER
    fed_server: DeviceProfile = DATACENTER
    replicas_at_once: int | None = None
    stragglers: StragglerPolicy = Wait()

    def __post_init__(self) -> None:
        if self.replicas_at_once is not None and self.replicas_at_once < 1:
            raise ScenarioError(
                f"Devices.replicas_at_once must be at least 1 or None for all, but it is {self.replicas_at_once}"
            )

    @property
    def requires(self) -> tuple[Requirement, ...]:
        return (
            *foreseeable("virtual time", "; leave Scenario.devices out"),
            as_written(
                "the published code of {protocol} plays clients one after another, for which virtual time cannot be "
                "given; leave Scenario.devices or as_published out"
            ),
        )

    def of(self, seed: int, client: int) -> DeviceProfile:
        """The machine of a client, from the stream (seed, "device", client): the same in every round and cohort."""
        return self.clients.draw(rng.stream(seed, "device", client))
