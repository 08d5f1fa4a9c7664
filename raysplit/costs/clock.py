"""A scenario's virtual clock: who is late in a round, how long the round takes, and the rows of ``times.arrow``."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from raysplit.costs.portions import cut_costs
from raysplit.costs.virtual_time import ClientTime, RoundTime, round_time
from raysplit.errors import ScenarioError
from raysplit.population.selection.cohort import Participation, SampledCohort
from raysplit.protocols.plan import RoundPlan
from raysplit.scenario.devices import DeviceProfile, Devices
from raysplit.scenario.scenario import Scenario
from raysplit.scenario.stragglers import Wait


@dataclass(frozen=True)
class Late:
    """Who misses a round. ``positions``: int64, ascending, in the sampled cohort; ``clients``: their ids; ``times``:
    what each would have needed alone; ``reason``: the policy's name.
    """

    positions: np.ndarray
    clients: np.ndarray
    times: tuple[ClientTime, ...]
    reason: str

    def without(self, participation: Participation) -> Participation:
        """The participation with them among the absent."""
        reporting, lost = (
            np.isin(sampled.clients, self.clients) for sampled in (participation.reporting, participation.lost)
        )
        gone = (participation.absent, participation.reporting.where(reporting), participation.lost.where(lost))
        absent = SampledCohort(*(np.concatenate(parts) for parts in zip(*gone, strict=True)))
        return Participation(participation.reporting.where(~reporting), participation.lost.where(~lost), absent)


@dataclass(frozen=True)
class Timed:
    """A round's virtual time as its tables get it: seconds of the round, and a row a client."""

    round_s: float
    rows: list[dict[str, Any]]


class Clock:
    """Depends on the scenario and the plan of a round alone: the same on every engine, straight through or resumed."""

    def __init__(self, scenario: Scenario, devices: Devices) -> None:
        self._scenario, self._devices = scenario, devices
        self._costs = cut_costs(scenario)

    @staticmethod
    def of(scenario: Scenario) -> Clock | None:
        """None where the scenario imagines no devices."""
        return None if scenario.devices is None else Clock(scenario, scenario.devices)

    def profiles(self, plan: RoundPlan) -> list[DeviceProfile]:
        """The clients' machines, in cohort order."""
        return [self._devices.of(plan.seed, int(client)) for client in plan.clients]

    def time(self, plan: RoundPlan) -> RoundTime:
        """The round's times, everybody in the plan taking part."""
        return round_time(self._scenario, plan, self._costs, self._devices, self.profiles(plan))

    def single_client_time(self, plan: RoundPlan, position: int) -> ClientTime:
        """The times of a client that has the round to itself."""
        return self.time(_only(plan, np.array([position]))).clients[0]

    def late(self, plan: RoundPlan) -> Late | None:
        """Who of the planned clients misses the round, or None; raises ``ScenarioError`` where nobody would be left."""
        policy = self._devices.stragglers
        if isinstance(policy, Wait) or len(plan.clients) == 0:
            return None
        times = [self.single_client_time(plan, position) for position in range(len(plan.clients))]
        needed = np.array([time.finish_s for time in times])
        positions = np.sort(policy.late(needed, lambda kept: self.time(_only(plan, kept)).last_report_s))
        if len(positions) == len(times):
            raise ScenarioError(
                f"{type(policy).__name__} leaves nobody in round {plan.round}: the fastest client of the cohort needs "
                f"{needed.min():.4g} s of virtual time; give clients longer"
            )
        if len(positions) == 0:
            return None
        found = tuple(times[int(position)] for position in positions)
        return Late(positions, plan.clients[positions], found, type(policy).__name__)

    def timed(self, plan: RoundPlan, late: Late | None) -> Timed:
        """What the tables get: ``plan`` is without the late."""
        time = self.time(plan)
        closes = self._devices.stragglers.closes(time.last_report_s, late is not None)
        rows = [
            self._row(plan, int(client), client_time, None)
            for client, client_time in zip(plan.clients, time.clients, strict=True)
        ]
        if late is not None:
            missing = zip(late.clients, late.times, strict=True)
            rows += [self._row(plan, int(client), client_time, late.reason) for client, client_time in missing]
        return Timed(time.round_s(closes), rows)

    def _row(self, plan: RoundPlan, client: int, time: ClientTime, reason: str | None) -> dict[str, Any]:
        one_party = self._scenario.protocol.client_sync == "one_party"
        device = self._devices.server if one_party else self._devices.of(plan.seed, client)
        named = {"round": plan.round, "client": client, "device": device.name}
        return {**named, **dataclasses.asdict(time), "left_out": reason}


def _only(plan: RoundPlan, kept: np.ndarray) -> RoundPlan:
    """The plan as far as clocks go, with these positions alone."""
    return dataclasses.replace(
        plan,
        clients=plan.clients[kept],
        cohort=plan.cohort[kept],
        samples=plan.samples[kept],
        steps=plan.steps[kept],
        weights=plan.weights[kept],
    )
