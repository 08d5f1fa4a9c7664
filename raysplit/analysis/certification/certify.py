"""Certifying the predictions of a run's model on test samples (Lecuyer et al. 2019, section 3.4), and attacking them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from raysplit import rng
from raysplit.analysis.certification.confidence import clopper_pearson, hoeffding
from raysplit.analysis.certification.draws import Drawn, NoisyNetwork
from raysplit.analysis.certification.pgd import Pgd
from raysplit.analysis.certification.radii import gaussian_radius, laplace_radius, radius_in, smoothing_radius
from raysplit.analysis.runs.trained import Trained, check_client, trained_model
from raysplit.defenses.messages.message_defense import of_smashed
from raysplit.errors import RunError
from raysplit.models.noise.layer import noise_layers_in
from raysplit.models.noise.pixel_dp import PixelDp
from raysplit.models.noise.sensitivity import BoundedSensitivity
from raysplit.models.pixels import to_pixels
from raysplit.population.opening import open_population
from raysplit.population.population import Samples
from raysplit.scenario.scenario import Scenario
from raysplit.simulation.evaluation import evaluation_clients
from raysplit.threads import one_thread

ScoredBy = Literal["votes", "softmax"]
"""What is averaged over draws: in how many a class has the largest score, or its softmax"""


@dataclass(frozen=True)
class CertificationSetup:
    """``samples``: test samples, drawn from the run's stream; ``draws``: of the noise, a sample; ``confidence``: with
    which the bounds of one sample's scores hold, η in the paper. ``norm``: in which radii are given (None: the noise
    layer's). ``attack``: tried on every certified sample, on the edge of its largest certified radius. ``client``: whose
    samples, and portion where clients keep their own.
    """

    samples: int = 100
    draws: int = 1000
    confidence: float = 0.95
    scored_by: ScoredBy = "votes"
    norm: float | None = None
    attack: Pgd | None = None
    client: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("samples", self.samples), ("draws", self.draws)):
            if value < 1:
                raise RunError(f"certification needs one of --{name} at least, but it is {value}")
        if not 0 < self.confidence < 1:
            raise RunError(f"--confidence must lie between 0 and 1, but it is {self.confidence}")


@dataclass(frozen=True)
class CertifiedSample:
    """A test sample, number ``index`` of its client's set. ``low``, ``high``: bounds of the predicted class's expected
    score and of the others'. Radii are in the norm that was asked for, 0 where nothing is certified;
    ``smoothing_radius`` is None where the noise is not Gaussian. ``attack_radius``: in the noise layer's norm, None where
    nothing was attacked; ``flipped``: whether the attack changed the prediction.
    """

    client: int
    index: int
    label: int
    predicted: int
    low: float
    high: float
    pixeldp_radius: float
    smoothing_radius: float | None
    attack_radius: float | None = None
    flipped: bool | None = None

    @property
    def correct(self) -> bool:
        return self.predicted == self.label


@dataclass(frozen=True)
class Certification:
    """What was found of the ``samples``. ``model``: the noise layer's numbers; ``sensitivity``: Δ of the trained
    layers before it."""

    model: PixelDp
    setup: CertificationSetup
    samples: tuple[CertifiedSample, ...]
    sensitivity: float
    seconds: float

    @property
    def norm(self) -> float:
        """Of the radii."""
        return float(self.model.norm) if self.setup.norm is None else self.setup.norm

    @property
    def accuracy(self) -> float:
        return float(np.mean([sample.correct for sample in self.samples]))

    def certified_accuracy(self, radius: float, smoothing: bool = False) -> float:
        """The share of samples that are predicted rightly whatever change of ‖α‖ ≤ ``radius`` they suffer; at 0 of those
        that are certified at all."""
        radii = [(s.smoothing_radius or 0.0) if smoothing else s.pixeldp_radius for s in self.samples]
        return float(np.mean([s.correct and r > 0 and r >= radius for s, r in zip(self.samples, radii, strict=True)]))

    @property
    def attacked(self) -> int:
        return sum(sample.flipped is not None for sample in self.samples)

    @property
    def flipped(self) -> int:
        """Certified samples whose prediction an attack changed: of a sound certificate 0, but for samples whose bounds do
        not hold, of which there are 1 − ``confidence`` at most."""
        return sum(bool(sample.flipped) for sample in self.samples)


@one_thread()
def certify(trained: Trained, setup: CertificationSetup) -> Certification:
    """Raises ``RunError`` where the run's network has no noise layer, or one that guarantees nothing."""
    begin = time.perf_counter()
    model = _certifiable(trained.scenario)
    network = trained_model(trained, setup.client).network
    [layer] = noise_layers_in([network])
    noisy = NoisyNetwork(network, layer, trained.scenario.seed)
    samples = tuple(
        _certified(trained.scenario, noisy, model, setup, number, *chosen)
        for number, chosen in enumerate(_chosen(trained.scenario, setup))
    )
    assert isinstance(layer.sensitivity, BoundedSensitivity)
    sensitivity = layer.sensitivity.now()
    return Certification(model, setup, samples, sensitivity, time.perf_counter() - begin)


def _certifiable(scenario: Scenario) -> PixelDp:
    model = scenario.model
    if not isinstance(model, PixelDp):
        raise RunError(
            f"{type(model).__name__} predicts without noise, so nothing can be certified; train a PixelDp of it"
        )
    if not model.guarantee:
        raise RunError(
            "the noise of this run goes by a measured sensitivity, an estimate that guarantees nothing, so nothing can be "
            "certified; train with PixelDp(sensitivity='bounded')"
        )
    if of_smashed(scenario.message_defenses):
        raise RunError(
            "Scenario.message_defenses change what this run's network predicts from, which no certificate covers; leave "
            "those of smashed data out"
        )
    return model


def _chosen(scenario: Scenario, setup: CertificationSetup) -> Iterator[tuple[int, int, Samples]]:
    """Test samples as (client, index, a set of one), by client."""
    population = open_population(scenario.population)
    if setup.client is not None:
        check_client(setup.client, scenario)
    own = None if setup.client is None else np.array([setup.client], dtype=np.int64)
    clients = evaluation_clients(scenario, population.info) if own is None else own
    sizes = population.test_sizes(clients)
    owners, starts = np.repeat(np.arange(len(clients)), sizes), np.cumsum(sizes) - sizes
    if not len(owners):
        raise RunError(f"the chosen clients of {population.info.name!r} have no test samples; choose others")
    order = rng.stream(scenario.seed, "pixeldp_certified").permutation(len(owners))
    chosen = np.sort(order[: setup.samples])
    for place in np.unique(owners[chosen]):
        test = population.test(int(clients[place]))
        for i in chosen[owners[chosen] == place] - starts[place]:
            yield int(clients[place]), int(i), Samples(test.x[i : i + 1], test.y[i : i + 1])


def _certified(
    scenario: Scenario,
    network: NoisyNetwork,
    model: PixelDp,
    setup: CertificationSetup,
    number: int,
    client: int,
    index: int,
    sample: Samples,
) -> CertifiedSample:
    x = to_pixels(sample.x, scenario.pixels, scenario.training.dtype, torch.device("cpu"))
    predicted, low, high = predicted_with_bounds(network.drawn(x, setup.draws, "pixeldp_certification", number), setup)
    pixeldp, smoothing = certified_radii(model, low, high)
    largest = max(pixeldp, smoothing or 0.0)
    attack_radius, flipped = None, None
    if setup.attack is not None and largest > 0:
        attack_radius = largest
        changed = setup.attack.changed(network, x, predicted, largest, model.norm, number)
        again = network.drawn(changed, setup.draws, "pixeldp_attacked", number)
        flipped = predicted_with_bounds(again, setup)[0] != predicted
    asked = float(model.norm) if setup.norm is None else setup.norm
    inner = [None if r is None else radius_in(r, model.norm, asked, x[0].numel()) for r in (pixeldp, smoothing)]
    assert inner[0] is not None
    label = int(sample.y[0])
    return CertifiedSample(client, index, label, predicted, low, high, inner[0], inner[1], attack_radius, flipped)


def predicted_with_bounds(drawn: Drawn, setup: CertificationSetup) -> tuple[int, float, float]:
    """The predicted class, a lower bound of its expected score and an upper bound of every other class's."""
    if setup.scored_by == "votes":
        means, bounds = drawn.votes, clopper_pearson(drawn.votes, drawn.draws, setup.confidence)
    else:
        means, bounds = drawn.softmax, hoeffding(drawn.softmax, drawn.draws, setup.confidence)
    predicted = int(means.argmax())
    low, others = float(bounds[0][predicted]), np.delete(bounds[1], predicted)
    return predicted, low, min(float(others.max(initial=0.0)), 1 - low)  # scores add up to 1


def certified_radii(model: PixelDp, low: float, high: float) -> tuple[float, float | None]:
    """PixelDP's, and that of randomised smoothing where the noise is Gaussian, in the noise layer's norm."""
    scale = model.scale_per_sensitivity
    if model.mechanism == "laplace":
        return laplace_radius(low, high, scale), None
    return gaussian_radius(low, high, scale), smoothing_radius(low, high, scale)
