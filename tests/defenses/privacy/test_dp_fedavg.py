"""Client-level privacy on updates: against DP-FedAvg written out, and what the accountant is told of cohorts."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from raysplit import rng
from raysplit import run as raysplit_run
from raysplit.aggregation.rule import RoundContext, plain_context
from raysplit.aggregation.rules.dp_fedavg import DpFedAvg
from raysplit.analysis.report.privacy import privacy_section
from raysplit.defenses.privacy.accountant import ORDERS, epsilon
from raysplit.engine.local import LocalEngine
from raysplit.models.network import build
from raysplit.population.selection.cohort import Cohort
from raysplit.population.selection.draws import Crowd, Poisson
from raysplit.population.selection.dropouts import Dropouts
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.protocol import TrainingProtocol
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v3 import SplitFedV3
from raysplit.scenario.layout import Layout
from raysplit.scenario.scenario import Scenario
from raysplit.simulation.simulation import RoundReport
from raysplit.training.optimizers import Sgd
from tests.toys import distance, play, toy

C, Z, W = 0.05, 0.7, 5


def private(protocol: TrainingProtocol, rule: DpFedAvg, **changes: object) -> Scenario:
    sides = {"server_defense": rule} if protocol.server == "replicas" else {}
    return toy(protocol, **{"defense": rule, **sides, **changes})


def written_out(scenario: Scenario, sides: dict[str, list[str]]) -> dict[str, torch.Tensor]:
    """The network after the scenario's rounds. ``sides``: purpose of the noise's stream → the stages clipped as one."""
    population, training, layout = scenario.population.open(), scenario.training, Layout(scenario)
    network = build(scenario.model, scenario.seed, torch.float64)
    flat = {"defense": layout.client, "server_defense": layout.server}
    for round in range(1, training.rounds + 1):
        sums = {name: torch.zeros_like(p) for name, p in network.named_parameters()}
        for client in range(6):
            samples, own = population.train(client), copy.deepcopy(network)
            for step in range(training.batching.steps(len(samples.y))):
                chosen = training.batching.indices(scenario.seed, round, client, step, len(samples.y))
                index = torch.arange(len(samples.y)) if chosen is None else torch.from_numpy(chosen)
                loss = functional.cross_entropy(own(samples.x[index].double() / 255), samples.y[index])
                own.zero_grad()
                loss.backward()
                with torch.no_grad():
                    for parameter in own.parameters():
                        parameter -= training.lr * parameter.grad
            moved = {
                n: (p - q).detach() for (n, p), q in zip(own.named_parameters(), network.parameters(), strict=True)
            }
            for stages in sides.values():
                names = [name for name in moved if name.split(".")[0] in stages]
                norm = math.sqrt(sum(float(moved[name].square().sum()) for name in names))
                for name in names:
                    sums[name] += moved[name] * min(1.0, C / norm)
        with torch.no_grad():
            for purpose in sides:
                drawn = rng.stream(scenario.seed, purpose, round).standard_normal(flat[purpose].parameters)
                for name, noise in flat[purpose].named_tensors(torch.from_numpy(drawn)).items():
                    sums[name] += Z * C * noise
            for name, parameter in network.named_parameters():
                parameter += sums[name] / W
    return {name: parameter.detach() for name, parameter in network.named_parameters()}


WHOLE = {"defense": ["conv1", "conv2", "fc1", "fc2"]}
CUT = {"defense": ["conv1", "conv2"], "server_defense": ["fc1", "fc2"]}


@pytest.mark.parametrize(("protocol", "sides"), [(FedAvg(), WHOLE), (SplitFedV1(), CUT)], ids=["fedavg", "sflv1"])
def test_training_is_dp_fedavg_written_out(protocol: TrainingProtocol, sides: dict[str, list[str]]) -> None:
    """Six clients' updates, clipped, summed, with noise, over five, which is the public number; clients of three samples
    weigh as much as clients of thirteen."""
    exact = {"training__precision": "float64", "training__optimizer": Sgd()}
    scenario = private(protocol, DpFedAvg(C, Z, W), **exact)
    assert distance(play(scenario).named, written_out(scenario, sides)) < 1e-12


@pytest.mark.parametrize("protocol", [FedAvg(), SplitFedV1()])
def test_without_a_norm_it_is_the_mean_bit_for_bit(protocol: TrainingProtocol) -> None:
    off = DpFedAvg(None, 0.0, W, guarantee=False)
    played = play(private(protocol, off))
    assert played.digest == play(toy(protocol)).digest
    assert played.tables["privacy"].num_rows == 0


def test_column_shards_change_no_bit() -> None:
    scenario = private(FedAvg(), DpFedAvg(C, Z, W, quantile=0.5))
    with LocalEngine(scenario, shards=3) as engine:
        assert play(scenario, engine).digest == play(scenario).digest


def test_the_noise_has_its_standard_deviation() -> None:
    """zC/W, within 3 standard errors."""
    n, rule = 40_000, DpFedAvg(2.0, 1.3, 8)
    drawn = rule(torch.zeros(3, n))
    assert abs(float(drawn.std()) * 8 - 2.6) < 3 * 2.6 / (2 * n) ** 0.5
    assert abs(float(drawn.mean())) * 8 < 3 * 2.6 / n**0.5
    assert not torch.equal(rule(torch.zeros(3, n), round=2), drawn)


def test_no_client_moves_the_sum_by_more_than_the_norm_whatever_it_sends() -> None:
    rule, others = DpFedAvg(0.5, 1.0, 4), torch.randn(5, 30, generator=torch.Generator().manual_seed(1))
    for sent in (1e3 * torch.ones(30), torch.full((30,), math.nan), torch.full((30,), math.inf), torch.ones(30) * 1e-3):
        moved = rule(torch.cat([others, sent[None]])) - rule(torch.cat([others, torch.zeros(1, 30)]))
        assert float(moved.norm()) * 4 <= 0.5 * (1 + 1e-4)


def bounds(rule: DpFedAvg, updates: torch.Tensor, rounds: int) -> list[float]:
    memory: dict[str, torch.Tensor] = {}
    found = []
    for round in range(1, rounds + 1):
        context = _context(len(updates), round, memory)
        given = rule.aggregate(updates, torch.ones(len(updates)) / len(updates), context)
        memory = dict(given.memory)
        found.append(float(memory["bound"]))
    return found


def _context(n: int, round: int, memory: dict[str, torch.Tensor]) -> RoundContext:
    return replace(plain_context(DpFedAvg(1.0, 1.0, 1), n, round, 3), memory=memory)


def test_the_adaptive_norm_goes_to_the_quantile_and_is_released_with_noise() -> None:
    """Of norms 0.1, 0.2 … 10.0: at γ = 0.3 to about 3; its first step is Andrew et al.'s formula."""
    updates = torch.zeros(100, 100)
    updates[torch.arange(100), torch.arange(100)] = torch.arange(1, 101) / 10
    rule = DpFedAvg(1.0, 1.0, 100, quantile=0.3, count_noise=2.0)
    found = bounds(rule, updates, 80)
    assert abs(np.mean(found[-20:]) - 3.0) < 0.3
    stream = _context(100, 1, {}).rng
    stream.standard_normal(100)  # the update's noise comes first
    share = 0.5 + ((10 - 90) / 2 + 2.0 * stream.standard_normal()) / 100
    assert found[0] == pytest.approx(math.exp(-0.2 * (share - 0.3)), rel=1e-6)


def test_the_noised_count_costs_what_andrew_et_al_say() -> None:
    """To have z in all, updates get (z⁻² − (2σ_b)⁻²)^(−½)."""
    z, count = 1.1, 5.0
    on_updates = (z**-2 - (2 * count) ** -2) ** -0.5
    assert DpFedAvg(1.0, on_updates, 100, quantile=0.5).multiplier == pytest.approx(z, rel=1e-12)
    assert DpFedAvg(1.0, z, 100).multiplier == z


def by_libraries(multiplier: float, rate: float, rounds: int) -> list[float]:
    analysis = pytest.importorskip("opacus.accountants.analysis.rdp", reason="Opacus is not installed")
    total = analysis.compute_rdp(q=rate, noise_multiplier=multiplier, steps=rounds, orders=list(ORDERS))
    found = [analysis.get_privacy_spent(orders=list(ORDERS), rdp=total, delta=1e-5)[0]]
    try:
        import dp_accounting as dp
    except ImportError:
        return found
    accountant = dp.rdp.RdpAccountant(orders=list(ORDERS))
    accountant.compose(dp.PoissonSampledDpEvent(rate, dp.GaussianDpEvent(multiplier)), rounds)
    return [*found, accountant.get_epsilon(1e-5)]


def test_poisson_cohorts_are_amplified_and_every_round_counts_for_everybody() -> None:
    """Also rounds in which nobody was drawn: they release noise, and a client that was never drawn has spent as much."""
    cohort = Cohort(1, draw=Poisson())
    played = play(private(FedAvg(), DpFedAvg(C, 3.0, 1), cohort=cohort, training__rounds=8))
    drawn = [row["clients"] for row in played.tables["rounds"].to_pylist()]
    assert 0 in drawn
    for row in played.tables["privacy"].to_pylist():
        assert row["applications"] == row["round"]
        assert (row["unit"], row["sampling"]) == ("client", "poisson cohorts")
        for expected in by_libraries(3.0, 1 / 6, row["round"]):
            assert row["epsilon"] == pytest.approx(expected, abs=1e-9)


def test_a_round_in_which_nobody_was_drawn_moves_the_model_by_noise_alone() -> None:
    """Else the model would tell that nobody was there."""
    scenario = private(SplitFedV1(), DpFedAvg(C, Z, W), cohort=Cohort(1, draw=Poisson(1 / 12)), training__rounds=1)
    seeds = [seed for seed in range(40) if not len(scenario.cohort.draw.draw(1, seed, 1, _crowd()))]
    layout = Layout(scenario.replace(seed=seeds[0]))
    state = play(scenario.replace(seed=seeds[0])).state
    start = layout.initial()
    for purpose, before, after in (
        ("defense", start.client, state.client),
        ("server_defense", start.server, state.server),
    ):
        noise = rng.stream(seeds[0], purpose, 1).standard_normal(len(before)) * Z * C / W
        assert torch.allclose(after - before, torch.from_numpy(noise).float(), atol=1e-6)


def _crowd() -> Crowd:
    return Crowd(6, lambda: np.ones(6, dtype=np.int64))


def test_other_cohorts_count_the_rounds_in_which_a_client_took_part() -> None:
    """Without amplification: who takes part is public. Client and server side are released together."""
    played = play(private(SplitFedV1(), DpFedAvg(C, 4.0, 3), cohort=Cohort(3), training__rounds=4))
    trained: dict[int, int] = {}
    for row in played.tables["privacy"].to_pylist():
        trained[row["client"]] = trained.get(row["client"], 0) + 1
        assert row["applications"] == trained[row["client"]]
        assert row["neighbours"] == "one client's contributions zero, cohorts public"
        for expected in by_libraries(4.0 / 2**0.5, 1.0, row["applications"]):
            assert row["epsilon"] == pytest.approx(expected, abs=1e-9)
    assert len(set(trained.values())) > 1


def test_personal_portions_need_it_where_replicas_meet_alone() -> None:
    played = play(toy(SplitFedV3(), server_defense=DpFedAvg(C, 4.0, 6)))
    (row, *_) = played.tables["privacy"].to_pylist()
    assert row["epsilon"] == epsilon(1.0, 4.0, 1, 1e-5).epsilon


def test_a_client_that_fails_before_it_reports_takes_part_no_more_than_it_does() -> None:
    rule = DpFedAvg(C, 4.0, 6)
    played = play(private(FedAvg(), rule, cohort=Cohort(6, dropouts=Dropouts(0.5)), training__rounds=3))
    reported = [row for row in played.tables["clients"].to_pylist() if not row["dropped"]]
    assert played.tables["privacy"].num_rows == len(reported) < 18


def test_resuming_goes_on_counting_and_clipping_where_it_was() -> None:
    rule = DpFedAvg(C, 4.0, 3, quantile=0.5)
    scenario = private(SplitFedV1(), rule, cohort=Cohort(3), training__rounds=4)
    whole, half = play(scenario), play(scenario.replace(**{"training.rounds": 2}))
    rest = play(scenario, start=half.state)
    assert rest.digest == whole.digest
    lengths = [row["bound"] for row in whole.tables["aggregation"].to_pylist() if row["portion"] == "client"]
    assert lengths[0] == C and len(set(lengths)) == 4
    assert rest.tables["privacy"].to_pylist() == whole.tables["privacy"].to_pylist()[6:]


def test_its_epsilon_says_wherever_it_stands_what_it_is_of_and_ends_a_run(tmp_path: Path) -> None:
    two = epsilon(1.0, 8.0, 2, 1e-5).epsilon
    scenario = private(FedAvg(), DpFedAvg(C, 8.0, 6, budget=two * 1.01), training__rounds=4)
    said: list[RoundReport] = []
    play(scenario, watch=said.append)
    assert said[-1].privacy is not None and len(said) == 2
    for part in ("for a client", "who gets the model", "trusts the fed server", "cohorts as drawn", f"{two:.3g}"):
        assert part in said[-1].privacy.words
    run = raysplit_run(scenario, out=tmp_path)
    assert run.state.rounds == 2 and "budget of ε" in run.state.record["stopped"]
    page = privacy_section(run)
    assert "not the fed server" in page and "updates as the fed server gets them" in page
