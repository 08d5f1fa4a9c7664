"""DP-SGD on client portions, through the cut: the part of a scenario."""

from __future__ import annotations

import math
from typing import Literal

from raysplit.defenses.privacy.noisy_sum import NoisySum
from raysplit.defenses.privacy.rules import ClippedClient, ClippedServer
from raysplit.errors import ScenarioError
from raysplit.parts.part import part, within
from raysplit.training.gradient_rules import GradientRule, MeanGradient
from raysplit.training.parties import ServerGradientRule


@part
class PerExampleClipping:
    """DP-SGD (Abadi et al. 2016) on what clients train: every sample's gradient is clipped to ``max_norm`` = C, and
    noise of standard deviation ``noise_multiplier`` · C is added to the sum of a batch, which is divided by
    ``expected_batch`` (None: ``Training.batch_size``), a public number.

    ``form``: noise once a batch, or as Thapa et al. 2022 print it (eq. 3), for every sample. ``clipping``: by the norm
    of the whole client portion, or each of its m layers to C/√m by its own. ``max_norm=None``: no clipping, which goes
    with no noise: training is then what it is without this part, bit for bit.

    ``server_portion="clipped"``: the main server clips and adds noise to the gradients of its own portion in the same
    way. Without it (``"open"``, as Thapa et al. have it) the server portion remembers samples as they are, and the
    gradients that it sends later, to all clients, tell of them: then there is no guarantee. ``weights``: of clients in
    the average; ``"samples"``, FedAvg's n_k/n, publishes how many samples each has.

    ``guarantee``: whether (ε, ``delta``) is claimed, for one sample, against the fed server, other clients and whoever
    gets the model. False: clip and add noise, claim nothing. ``budget``: the largest ε that any client may come to; the
    run ends before the round that would exceed it.
    """

    max_norm: float | None
    noise_multiplier: float
    delta: float = 1e-5
    form: Literal["abadi", "thapa2022"] = "abadi"
    clipping: Literal["flat", "per_layer"] = "flat"
    expected_batch: int | None = None
    server_portion: Literal["clipped", "open"] = "clipped"
    weights: Literal["equal", "samples"] = "equal"
    guarantee: bool = True
    budget: float | None = None

    def __post_init__(self) -> None:
        name = type(self).__name__
        if self.max_norm is not None and not 0 < self.max_norm < math.inf:
            raise ScenarioError(f"{name}.max_norm must be above 0, or None for no clipping, but it is {self.max_norm}")
        within(f"{name}.noise_multiplier", self.noise_multiplier, 0, math.inf)
        if not 0 < self.delta < 1:
            raise ScenarioError(f"{name}.delta must lie between 0 and 1, but it is {self.delta}")
        if self.expected_batch is not None:
            within(f"{name}.expected_batch", self.expected_batch, 1)
        if self.budget is not None and not self.budget > 0:
            raise ScenarioError(f"{name}.budget must be an ε above 0, or None for no end, but it is {self.budget}")
        if self.max_norm is None and self.noise_multiplier:
            raise ScenarioError(
                f"{name}.noise_multiplier is in units of max_norm, but max_norm is None; give a norm, or "
                "noise_multiplier=0"
            )
        if self.guarantee and not self.noise_multiplier:
            raise ScenarioError(
                f"{name} without noise guarantees nothing; give a noise_multiplier, or guarantee=False to train so all "
                "the same"
            )

    @property
    def acts(self) -> bool:
        """Whether anything is clipped: else gradients are those of the mean loss, summed as ever."""
        return self.max_norm is not None

    def divisor(self, batch_size: int | None) -> int | None:
        """L; None where neither ``expected_batch`` nor ``Training.batch_size`` says it."""
        return self.expected_batch if self.expected_batch is not None else batch_size

    def client_rule(self, batch_size: int | None) -> GradientRule:
        return ClippedClient(self._noisy_sum(batch_size, "privacy_noise")) if self.acts else MeanGradient()

    def server_rule(self, batch_size: int | None) -> ServerGradientRule | None:
        if not self.acts or self.server_portion == "open":
            return None
        return ClippedServer(self._noisy_sum(batch_size, "privacy_server_noise"))

    def _noisy_sum(self, batch_size: int | None, purpose: str) -> NoisySum:
        divisor = self.divisor(batch_size)
        assert divisor is not None  # scenario/privacy_check.py
        return NoisySum(self.max_norm, self.noise_multiplier, self.form, self.clipping, divisor, purpose)
