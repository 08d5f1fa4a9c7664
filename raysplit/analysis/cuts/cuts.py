"""Where should I cut? Every possible cut of a scenario's model, with what it costs and, on request, what it reaches."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from raysplit.analysis.cuts.leakage import Leakage, leakage_at
from raysplit.attacks.inference.inference_attack import InferenceAttack
from raysplit.channels.channel import Channel
from raysplit.costs.clock import Clock
from raysplit.costs.portions import CutCosts, cut_costs
from raysplit.costs.surface import attack_surface
from raysplit.costs.traffic import ChannelBytes, predicted_bytes
from raysplit.engine.local import LocalEngine
from raysplit.errors import ScenarioError
from raysplit.memory.global_state import GlobalState
from raysplit.models.network import build, check_cut, cut, stage_names
from raysplit.models.noise.pixel_dp import PixelDp
from raysplit.parts.canonical import to_json
from raysplit.population.opening import open_population
from raysplit.population.population import Population
from raysplit.population.selection.cohort import ParticipationSampler
from raysplit.protocols.plan import RoundPlan
from raysplit.scenario.devices import Devices
from raysplit.scenario.layout import Layout
from raysplit.scenario.population_check import check_population
from raysplit.scenario.scenario import Scenario
from raysplit.simulation.planning import make_plan
from raysplit.simulation.simulation import Output, Progress, simulate
from raysplit.storage.tables import open_tables, read_table
from raysplit.threads import one_thread
from raysplit.training.gradient_rules import BackwardPass, MeanGradient
from raysplit.training.parties import ClientSlot, ServerSlot

REPEATS = 7
"""Split steps that are timed at each cut, after one that is not; their median is given."""


@dataclass(frozen=True)
class Cut:
    """What a cut costs. Shares are fractions of the whole model; bytes and seconds are for the scenario's first round.

    ``flops_share``: of the FLOPs of a step; ``smashed_bytes``: a sample's at the cut; ``portion_bytes`` and
    ``exchange_bytes``: a client's mean traffic for its portion, and for smashed data, gradients and labels;
    ``virtual_s``: the round on the scenario's devices; ``client_step_s`` and ``server_step_s``: measured on this
    machine, one thread, one batch; ``accuracy``: on the test clients after the requested rounds, None where
    none were. ``update_floats``, ``smashed_floats``, ``labels``, ``feature_gradient_floats``: what a malicious client
    controls in a round (surface.py). ``leakage``: what the requested attack finds of inputs, None where none was.
    """

    cut: str
    paper_names: tuple[str, ...]
    parameters: int
    parameter_share: float
    flops_share: float
    smashed_bytes: int
    portion_bytes: float
    exchange_bytes: float
    virtual_s: float
    client_step_s: float
    server_step_s: float
    accuracy: float | None
    update_floats: float = 0.0
    smashed_floats: float = 0.0
    labels: float = 0.0
    feature_gradient_floats: float = 0.0
    leakage: Leakage | None = None

    @property
    def round_bytes(self) -> float:
        """A client's mean traffic in a round, both ways."""
        return self.portion_bytes + self.exchange_bytes


@dataclass(frozen=True)
class CutTable:
    """``left_out``: stages after which nothing can be cut, with the reason; ``batch``: samples of the measured step;
    ``devices``: those of virtual time; ``imagined``: whether they are the defaults because the scenario names none.
    """

    scenario: Scenario
    cuts: tuple[Cut, ...]
    left_out: tuple[tuple[str, str], ...]
    clients: int
    batch: int
    devices: Devices
    imagined: bool
    rounds: int | None
    attack: InferenceAttack | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values, for cuts.json."""
        return {
            "scenario": self.scenario.name,
            "hash": self.scenario.hash,
            "model": type(self.scenario.model).__name__,
            "protocol": type(self.scenario.protocol).__name__,
            "clients": self.clients,
            "batch": self.batch,
            "trained_rounds": self.rounds,
            "leakage_by": None if self.attack is None else to_json(self.attack),
            "devices": "defaults: round figures" if self.imagined else "the scenario's",
            "left_out": dict(self.left_out),
            "cuts": [{**asdict(row), "round_bytes": row.round_bytes} for row in self.cuts],
        }


def compare_cuts(
    scenario: Scenario,
    rounds: int | None = None,
    watch: Callable[[str], None] = lambda cut: None,
    attack: InferenceAttack | None = None,
) -> CutTable:
    """Every cut of the scenario's model: all stages but the last, and before the tail of a U-shape.

    With ``rounds`` each cut is trained that long by the local engine, from the same initial weights. ``attack``: what
    is tried on the model at each cut, trained or not. ``watch`` hears each cut's name as it begins. Raises
    ``ScenarioError`` where the protocol does not split the model.
    """
    if scenario.protocol.server == "none":
        raise ScenarioError(
            f"{type(scenario.protocol).__name__} does not split the model, so it has no cut to compare; use a split "
            "protocol such as SplitFedV2()"
        )
    if rounds is not None:
        scenario = scenario.replace(**{"training.rounds": rounds, "checkpoint_every": rounds})
        scenario = scenario.replace(**{"evaluation.every": rounds})
    population = open_population(scenario.population)
    check_population(scenario, population.info)
    imagined = scenario.devices is None
    devices = scenario.devices or Devices()
    plan = first_plan(scenario, population)
    x, y = first_batch(scenario, population, plan)
    found: list[Cut] = []
    left_out: list[tuple[str, str]] = []
    names = stage_names(scenario.model)
    _, end = check_cut(scenario.model, True, scenario.protocol.u_shaped)
    for name in names[: end - 1]:
        if isinstance(scenario.model, PixelDp) and names.index(name) < names.index(scenario.model.noise_stage):
            left_out.append((name, "would put the noise layer behind the cut"))
            continue
        there = scenario.replace(**{"model.cut": name})
        costs = cut_costs(there)
        if min(costs.head.parameters, costs.body.parameters) == 0:
            side = "client" if costs.head.parameters == 0 else "server"
            left_out.append((name, f"would leave the {side} nothing to train"))
            continue
        watch(name)
        found.append(_measure(there, name, costs, plan, devices, (x, y), rounds, attack))
    clients = len(plan.clients)
    return CutTable(scenario, tuple(found), tuple(left_out), clients, len(y), devices, imagined, rounds, attack)


def _measure(
    scenario: Scenario,
    name: str,
    costs: CutCosts,
    plan: RoundPlan,
    devices: Devices,
    batch: tuple[torch.Tensor, torch.Tensor],
    rounds: int | None,
    attack: InferenceAttack | None,
) -> Cut:
    sent = predicted_bytes(scenario, plan, costs)
    clients = len(plan.clients)
    portions = _sum(sent, Channel.WEIGHTS, Channel.UPDATES, Channel.HANDOVER)
    exchanged = _sum(sent, Channel.SMASHED, Channel.CUT_GRADIENTS, Channel.FEATURES, Channel.FEATURE_GRADIENTS)
    timed = scenario.replace(devices=devices)
    client_s, server_s = time_step(scenario, *batch)
    surface = attack_surface(scenario, plan, costs)
    accuracy, state = (None, Layout(scenario).initial()) if rounds is None else train(scenario)
    whole = costs.head.parameters + costs.body.parameters + costs.tail.parameters
    client_parameters = costs.head.parameters + costs.tail.parameters
    return Cut(
        cut=name,
        paper_names=tuple(paper for paper, stage in scenario.model.cuts.items() if stage == name and paper != name),
        parameters=client_parameters,
        parameter_share=client_parameters / whole,
        flops_share=costs.client_step / (costs.client_step + costs.body.step),
        smashed_bytes=costs.smashed_bytes,
        portion_bytes=portions / clients,
        exchange_bytes=exchanged / clients,
        virtual_s=Clock(timed, devices).time(plan).round_s(),
        client_step_s=client_s,
        server_step_s=server_s,
        accuracy=accuracy,
        update_floats=surface.updates,
        smashed_floats=surface.smashed,
        labels=surface.labels,
        feature_gradient_floats=surface.feature_gradients,
        leakage=None if attack is None else leakage_at(scenario, state, attack),
    )


@one_thread()
def time_step(scenario: Scenario, x: torch.Tensor, y: torch.Tensor, repeats: int = REPEATS) -> tuple[float, float]:
    """Median seconds of a split step's client part and server part, on this machine."""
    u_shaped = scenario.protocol.u_shaped
    network = build(scenario.model, scenario.seed, scenario.training.dtype)
    portions = cut(network, scenario.model, True, u_shaped)
    client, server = ClientSlot(portions, scenario.training), ServerSlot(portions, scenario.training)
    for slot in (client, server):
        slot.enter(slot.flat.vector.clone(), None, 0.0)
        slot.begin(scenario.seed, 0, 0, 0)
    client_seconds: list[float] = []
    server_seconds: list[float] = []
    for _ in range(repeats + 1):
        watch = _StopWatch()
        with watch.client():
            z = client.forward(x)
        with watch.server():
            if u_shaped:
                features = server.forward(z.detach())
            else:
                gradient, _ = server.whole_step(z.detach(), y)
        if u_shaped:
            with watch.client():
                back, _ = client.tail_pass(features, y)
            with watch.server():
                gradient = server.backward(back)
                server.step()
        with watch.client():
            client.step(MeanGradient().gradients(client, BackwardPass(x, y, z, gradient)))
        client_seconds.append(watch.client_s)
        server_seconds.append(watch.server_s)
    return statistics.median(client_seconds[1:]), statistics.median(server_seconds[1:])


class _StopWatch:
    def __init__(self) -> None:
        self.client_s = self.server_s = 0.0

    @contextmanager
    def client(self) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.client_s += time.perf_counter() - began

    @contextmanager
    def server(self) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.server_s += time.perf_counter() - began


def train(scenario: Scenario) -> tuple[float, GlobalState]:
    """Test accuracy and state after the scenario's last round, on the local engine; nothing is written."""
    layout = Layout(scenario)
    with tempfile.TemporaryDirectory() as scratch, LocalEngine(scenario) as engine:
        folder = Path(scratch)
        with open_tables(folder / "metrics") as tables:
            population = open_population(scenario.population)
            output = Output(tables, folder / "checkpoints")
            finish = simulate(scenario, population, engine, output, Progress(layout.initial()))
        accuracy = read_table(folder / "metrics" / "evaluations.arrow").column("accuracy")[-1].as_py()
        return float(accuracy), finish.state


def first_plan(scenario: Scenario, population: Population) -> RoundPlan:
    """The plan of round 1."""
    return make_plan(scenario, population, 1, ParticipationSampler(scenario.cohort, scenario.seed, population).of(1))


def first_batch(scenario: Scenario, population: Population, plan: RoundPlan) -> tuple[torch.Tensor, torch.Tensor]:
    """The first batch of the cohort's first client, as a step would see it but for the choice of samples and grey
    levels."""
    x, y = population.train(int(plan.clients[0]))
    size = scenario.training.batch_size or len(y)
    x = x[:size].to(scenario.training.dtype)
    x = x / 255 if x.dim() == 4 else x
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x, y[:size]


def _sum(sent: dict[Channel, ChannelBytes], *channels: Channel) -> int:
    return sum(sent[channel].tensors + sent[channel].labels for channel in channels if channel in sent)
