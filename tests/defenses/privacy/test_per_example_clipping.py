"""DP-SGD through the cut, against DP-SGD on the unsplit network written out in plain PyTorch."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from raysplit.defenses.privacy.noisy_sum import NoisySum
from raysplit.defenses.privacy.per_example_clipping import PerExampleClipping
from raysplit.defenses.privacy.rules import ClippedClient
from raysplit.engine.local import LocalEngine
from raysplit.models.network import build
from raysplit.population.selection.cohort import ParticipationSampler
from raysplit.protocols.centralized import Centralized
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.protocol import TrainingProtocol
from raysplit.protocols.split_learning import SplitLearning
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.scenario.scenario import Scenario
from raysplit.simulation.planning import make_plan
from raysplit.training.gradient_rules import BackwardPass
from raysplit.training.optimizers import Gradients, Sgd
from raysplit.training.parties import ClientSlot
from tests.defenses.privacy.plain_dp_sgd import SEED, clipped_sum, noise, own_gradients
from tests.toys import ToyClients, distance, play, toy

NORM, Z = 0.8, 1.3


def private(protocol: TrainingProtocol, tail: str | None = None, **changes: object) -> Scenario:
    """Two rounds of one client with five samples, in batches of four and one, in double precision."""
    changes = {"privacy": PerExampleClipping(NORM, Z), **changes}
    return toy(
        protocol,
        tail=tail,
        clients=1,
        population=ToyClients(1, smallest=5),
        training__precision="float64",
        training__optimizer=Sgd(),
        **changes,
    )


def written_out(scenario: Scenario, groups: dict[str, list[str]]) -> dict[str, torch.Tensor]:
    """The network after the scenario's rounds. ``groups``: the noise's purpose → the stages that are clipped as one."""
    network = build(scenario.model, SEED, torch.float64)
    samples = scenario.population.open().train(0)
    x, y = samples.x.double() / 255, samples.y
    for round in (1, 2):
        for step in range(2):
            chosen = torch.from_numpy(scenario.training.batching.indices(SEED, round, 0, step, len(y)))
            rows = own_gradients(network, x[chosen], y[chosen])
            moves: dict[str, torch.Tensor] = {}
            for purpose, stages in groups.items():
                names = [name for name in rows[0] if name.split(".")[0] in stages]
                sums = clipped_sum(rows, names, NORM)
                drawn = noise(purpose, [total.shape for total in sums], round, 0, step)
                for name, total, some in zip(names, sums, drawn, strict=True):
                    moves[name] = (total + Z * NORM * some) / 4
            with torch.no_grad():
                for name, parameter in network.named_parameters():
                    parameter -= scenario.training.lr * moves[name]
    return {name: parameter.detach() for name, parameter in network.named_parameters()}


WHOLE = {"privacy_noise": ["conv1", "conv2", "fc1", "fc2"]}
CUT = {"privacy_noise": ["conv1", "conv2"], "privacy_server_noise": ["fc1", "fc2"]}
U_SHAPED = {"privacy_noise": ["conv1", "conv2", "fc2"], "privacy_server_noise": ["fc1"]}


@pytest.mark.parametrize(
    ("protocol", "tail", "groups"),
    [
        (FedAvg(), None, WHOLE),
        (Centralized(), None, WHOLE),
        (SplitFedV1(), None, CUT),
        (SplitFedV2(), None, CUT),
        (SplitLearning(), None, CUT),
        (SplitFedV1(u_shaped=True), "fc1", U_SHAPED),
        (SplitFedV2(u_shaped=True), "fc1", U_SHAPED),
    ],
    ids=lambda value: type(value).__name__,
)
def test_private_training_through_a_cut_is_dp_sgd_on_the_unsplit_network(
    protocol: TrainingProtocol, tail: str | None, groups: dict[str, list[str]]
) -> None:
    """With the parties' portions as groups of parameters, each clipped as one and with noise of its own; a batch of one
    is divided by the same public number as a batch of four."""
    scenario = private(protocol, tail)
    assert distance(play(scenario).named, written_out(scenario, groups)) < 1e-12


@pytest.mark.parametrize("protocol", [FedAvg(), SplitFedV1(), SplitFedV2(), SplitLearning(u_shaped=True)])
def test_without_noise_and_clipping_training_is_what_it_is_without_privacy(protocol: TrainingProtocol) -> None:
    """Bit for bit: there is nothing to clip, so gradients are summed as ever. A norm that is never reached gives the same
    up to rounding, where all batches have the size by which it divides."""
    tail = "fc1" if protocol.u_shaped else None
    even = {"population__smallest": 4, "training__last_batch": "drop", "training__precision": "float64"}
    plain = play(toy(protocol, tail=tail, **even))
    off = PerExampleClipping(None, 0.0, weights="samples", guarantee=False)
    wide = PerExampleClipping(1e30, 0.0, weights="samples", guarantee=False, server_portion="open")
    assert play(toy(protocol, tail=tail, **even, privacy=off)).digest == plain.digest
    assert distance(play(toy(protocol, tail=tail, **even, privacy=wide)).named, plain.named) < 1e-12


@dataclass
class Noting:
    """The clipped rule; notes by how much each batch of one moved the portion."""

    rule: ClippedClient
    norms: list[float] = field(default_factory=list)
    layers: list[list[float]] = field(default_factory=list)

    def gradients(self, portion: ClientSlot, batch: BackwardPass) -> Gradients:
        found = self.rule.gradients(portion, batch)
        known = [g for g in found if g is not None]
        self.norms.append(float(torch.cat([g.flatten() for g in known]).norm()))
        pairs = zip(known[::2], known[1::2], strict=True)  # a weight and its bias
        self.layers.append([float(torch.cat([w.flatten(), b]).norm()) for w, b in pairs])
        return found


@pytest.mark.parametrize("protocol", [FedAvg(), SplitFedV1(), SplitFedV2(u_shaped=True)])
@pytest.mark.parametrize("clipping", ["flat", "per_layer"])
def test_no_sample_moves_a_client_portion_by_more_than_the_norm(protocol: TrainingProtocol, clipping: str) -> None:
    """Head and tail together; layer by layer to C/√m each."""
    norm = 0.01
    privacy = PerExampleClipping(norm, 0.0, clipping=clipping, guarantee=False, server_portion="open")  # type: ignore[arg-type]
    tail = "fc1" if protocol.u_shaped else None
    scenario = toy(protocol, tail=tail, training__batch_size=1, training__rounds=1, privacy=privacy)
    rule = privacy.client_rule(1)
    assert isinstance(rule, ClippedClient)
    noting = Noting(rule)
    with LocalEngine(scenario, gradient_rule=noting) as engine:
        play(scenario, engine)
    assert max(noting.norms) <= norm * (1 + 1e-5)
    assert np.median(noting.norms) > 0.9 * norm  # it is reached
    if clipping == "per_layer":
        assert max(map(max, noting.layers)) <= norm / len(noting.layers[0]) ** 0.5 * (1 + 1e-5)


@pytest.mark.parametrize(("form", "size", "expected"), [("abadi", 16, 2.6), ("thapa2022", 16, 10.4), ("abadi", 0, 2.6)])
def test_the_noise_has_its_standard_deviation(form: str, size: int, expected: float) -> None:
    """s/L, within 3 standard errors, which of N draws are s/√2N; an empty batch gets noise too."""
    n, divisor = 40_000, 8
    mechanism = NoisySum(2.0, 1.3, form, "flat", divisor, "privacy_noise")  # type: ignore[arg-type]
    (drawn,) = mechanism.of(None, [torch.zeros(n)], ["layer"], size, (SEED, 1, 1, 1))
    measured = float(drawn.std()) * divisor
    assert abs(measured - expected) < 3 * expected / (2 * n) ** 0.5
    assert abs(float(drawn.mean())) * divisor < 3 * expected / n**0.5


def test_each_step_of_each_client_has_noise_of_its_own() -> None:
    mechanism = NoisySum(1.0, 1.0, "abadi", "flat", 1, "privacy_noise")

    def drawn(round: int, client: int, step: int) -> torch.Tensor:
        return mechanism.of(None, [torch.zeros(50)], ["layer"], 1, (SEED, round, client, step))[0]

    names = [(1, 1, 1), (2, 1, 1), (1, 2, 1), (1, 1, 2)]
    assert all(torch.equal(drawn(*name), drawn(*name)) for name in names)
    assert len({tuple(drawn(*name).tolist()) for name in names}) == len(names)


def test_clients_weigh_alike_unless_how_many_samples_they_have_is_public() -> None:
    def weights(scenario: Scenario) -> list[float]:
        population = scenario.population.open()
        sampler = ParticipationSampler(scenario.cohort, scenario.seed, population)
        return make_plan(scenario, population, 1, sampler.of(1), sampler.ranks).weights.tolist()

    plain = toy(FedAvg(), clients=2)
    assert weights(plain.replace(privacy=PerExampleClipping(1.0, 1.0))) == [0.5, 0.5]
    assert weights(plain.replace(privacy=PerExampleClipping(1.0, 1.0, weights="samples"))) == weights(plain)
    assert weights(plain) != [0.5, 0.5]


def test_a_privacy_that_is_off_leaves_a_scenario_its_hash_and_another_changes_it() -> None:
    plain = toy(SplitFedV1())
    assert "privacy" not in plain.to_json() and "poisson_rate" not in plain.to_json()["training"]
    assert toy(SplitFedV1(), privacy=PerExampleClipping(1.0, 1.0)).hash != plain.hash
