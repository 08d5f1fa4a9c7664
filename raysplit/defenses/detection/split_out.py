"""SplitOut (Erdogan et al. 2023, arXiv 2302.08618): are the gradients outliers beside those of a training of one's own?"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import torch

from raysplit.defenses.detection.client_detector import (
    AT_CLIENTS,
    AnsweredView,
    ClientDetector,
    ClientVerdict,
    OwnData,
)
from raysplit.defenses.detection.outlier_factor import local_outlier_factor, reach
from raysplit.errors import ScenarioError
from raysplit.memory.memory import State
from raysplit.models.network import Portions
from raysplit.parts.part import part, within
from raysplit.protocols.requirements import Requirement
from raysplit.training.client_step import whole_step
from raysplit.training.gradient_rules import MeanGradient
from raysplit.training.parties import ClientSlot
from raysplit.training.settings import Training

LEAST = 3
"""Gradients of the simulation without which there is nothing to compare with."""


@part
class SplitOut(ClientDetector):
    """Before its first step a client trains the whole network, from weights of its own, on ``share`` of its samples for
    ``epochs``, and keeps the gradients of the first weight. What comes back later is an outlier where the local outlier
    factor of its gradient among them, with all of them but one as neighbours, is above ``factor``.

    A score is 1 or 0, an outlier; an attack is found where most of the last ``window`` are outliers. Optimiser, rate
    and batch size are the scenario's. Sources: the paper, and its notebook ``sg_ad.ipynb`` (1 % of the data, windows 1
    and 10, scikit-learn's ``LocalOutlierFactor(n_neighbors=len − 1, novelty=True)`` with its bound 1.5); there are no
    published numbers that could be repeated. ``share`` is ours: 1 % of a client's samples is hardly a batch.
    """

    share: float = 0.1
    epochs: int = 1
    window: int = 10
    threshold: float = 0.5
    factor: float = 1.5

    def __post_init__(self) -> None:
        within("SplitOut.share", self.share, 0, 1)
        if self.share == 0:
            raise ScenarioError("SplitOut.share must be above 0, but it is 0.0")
        within("SplitOut.epochs", self.epochs, 1)
        within("SplitOut.window", self.window, 1)
        within("SplitOut.threshold", self.threshold, 0, 1)
        within("SplitOut.factor", self.factor, 1)

    @property
    def requires(self) -> tuple[Requirement, ...]:
        return (
            *AT_CLIENTS,
            Requirement(
                lambda setting: setting.batch_size is not None or self.epochs >= LEAST,
                f"{{component}}'s simulation needs {LEAST} gradients or more, but without Training.batch_size an epoch "
                f"has one batch and SplitOut.epochs is {self.epochs}; give a batch_size, or epochs={LEAST}",
            ),
        )

    def least_samples(self, training: Training) -> int:
        """So many that their share has ``LEAST`` batches in all epochs."""
        an_epoch = -(-LEAST // self.epochs)
        simulated = an_epoch * training.batch_size if an_epoch > 1 and training.batch_size is not None else 1
        return next(n for n in itertools.count(int(simulated / self.share)) if self._samples(n) >= simulated)

    def prepared(self, own: OwnData) -> State:
        gradients = simulated(own, self._samples(len(own.y)), self.epochs)
        distances, density = reach(gradients)
        return {"gradients": gradients, "reach": distances, "density": density}

    def judge(self, view: AnsweredView, memory: Mapping[str, torch.Tensor]) -> ClientVerdict:
        if view.fake:
            return ClientVerdict(None, dict(memory))
        gradient = view.first_layer.cpu().double()
        factor = local_outlier_factor(gradient, memory["gradients"], memory["reach"], memory["density"])
        return ClientVerdict(float(factor <= self.factor), dict(memory))

    def _samples(self, samples: int) -> int:
        return int(self.share * samples)


def simulated(own: OwnData, samples: int, epochs: int) -> torch.Tensor:
    """Gradients of the first weight in a training of one's own, float64 [steps, d_1]: an epoch goes once over
    ``samples`` of the client's in whole batches, drawn anew, or in one batch where they make none."""
    training = own.training
    slot = ClientSlot(Portions(own.untrained), training)
    slot.enter(slot.flat.vector.clone(), None, training.lr)
    chosen = torch.from_numpy(own.rng.permutation(len(own.y))[:samples])
    size = min(training.batch_size or samples, samples)
    found: list[torch.Tensor] = []
    for _ in range(epochs):
        order = chosen[torch.from_numpy(own.rng.permutation(samples))]
        for batch in torch.split(order[: samples - samples % size], size):
            slot.begin(int(own.rng.integers(2**62)), 0, own.client, len(found))
            whole_step(slot, own.x[batch], own.y[batch], MeanGradient())
            gradient = slot.gradients[own.first]
            assert gradient is not None, "the first weight trains"
            found.append(gradient.detach().flatten().double())
    return torch.stack(found)
