"""Plans of rounds, and machines with round numbers, to hold the costs against."""

from __future__ import annotations

import numpy as np

from raysplit.costs.portions import CutCosts, PortionCosts
from raysplit.costs.virtual_time import RoundTime, round_time
from raysplit.population.selection.cohort import ParticipationSampler
from raysplit.protocols.plan import RoundPlan
from raysplit.scenario.devices import DeviceProfile, Devices
from raysplit.scenario.scenario import Scenario
from raysplit.simulation.planning import make_plan


def plan_of(scenario: Scenario, round: int = 1) -> RoundPlan:
    """The plan of a round, as the simulation makes it."""
    population = scenario.population.open()
    return make_plan(
        scenario, population, round, ParticipationSampler(scenario.cohort, scenario.seed, population).of(round)
    )


def bare_plan(scenario: Scenario, samples: list[int], round: int = 1) -> RoundPlan:
    """A plan with clients of these sizes, whatever the population."""
    sizes = np.array(samples, dtype=np.int64)
    ids = np.arange(len(samples), dtype=np.int64)
    batching, epochs = scenario.training.batching, scenario.training.local_epochs
    return RoundPlan(
        round=round,
        seed=scenario.seed,
        clients=ids,
        cohort=ids,
        samples=sizes,
        steps=np.array([epochs * batching.steps(n) for n in samples], dtype=np.int64),
        weights=sizes / sizes.sum(),
        groups=(tuple(range(len(samples))),),
        rows=False,
        client_lr=0.1,
        server_lr=0.1,
        client_state="fresh",
        server_state="fresh",
    )


SLOW_DOWN = DeviceProfile(flops=2, up=8, down=4, latency=0.5)
SLOW_COMPUTE = DeviceProfile(flops=1, up=24, down=8, latency=0.25)
SERVER = DeviceProfile(flops=20, up=1e9, down=1e9)
FED_SERVER = DeviceProfile(flops=50, up=1e9, down=1e9)
DEVICES = Devices(server=SERVER, fed_server=FED_SERVER)

SPLIT = CutCosts(
    head=PortionCosts(parameters=25, forward=2, backward=3),
    body=PortionCosts(parameters=50, forward=4, backward=6),
    tail=PortionCosts(),
    smashed=1,
    features=0,
    float_bytes=4,
    state_bytes=0,
)
U_SHAPED = CutCosts(SPLIT.head, SPLIT.body, PortionCosts(forward=1, backward=1), 1, 2, 4, 0)
UNCUT = CutCosts(PortionCosts(parameters=25, forward=2, backward=3), PortionCosts(), PortionCosts(), 0, 0, 4, 0)


def timed(
    scenario: Scenario,
    samples: list[int],
    profiles: list[DeviceProfile],
    costs: CutCosts = SPLIT,
    devices: Devices = DEVICES,
    round: int = 1,
) -> RoundTime:
    return round_time(scenario, bare_plan(scenario, samples, round), costs, devices, profiles)
