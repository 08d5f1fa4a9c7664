"""The Gaussian mechanism on gradients of single samples (Abadi et al. 2016, algorithm 1): clip, sum, add noise, divide
by a public number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch

from raysplit import rng
from raysplit.training.per_example.examples import Examples


class PrivateSum(Protocol):
    """How a batch's gradient comes of those of its single samples: ``NoisySum``, or one that an audit puts in its
    place."""

    def of(
        self,
        examples: Examples | None,
        parameters: Sequence[torch.Tensor],
        layers: Sequence[str],
        size: int,
        key: tuple[int, int, int, int],
    ) -> list[torch.Tensor]:
        """A gradient for each of ``parameters``; the arguments are those of ``NoisySum.of``."""
        ...


@dataclass(frozen=True)
class NoisySum:
    """g̃ = (Σ_i g_i · min(1, C/‖g_i‖) + N(0, s²I)) / L.

    C = ``max_norm``, None: nothing is clipped. ``clipping="per_layer"``: each of m layers is clipped to C/√m by its own
    norm, which bounds the whole by C too. ``form="abadi"``: s = z·C with z = ``noise_multiplier``, once a batch.
    ``form="thapa2022"``: s = z·C·√B, as the sum of B samples has it each of which got noise (Thapa et al. 2022, eq. 3).
    ``divisor``: L. ``purpose``: of the noise's stream.
    """

    max_norm: float | None
    noise_multiplier: float
    form: Literal["abadi", "thapa2022"]
    clipping: Literal["flat", "per_layer"]
    divisor: int
    purpose: str

    def of(
        self,
        examples: Examples | None,
        parameters: Sequence[torch.Tensor],
        layers: Sequence[str],
        size: int,
        key: tuple[int, int, int, int],
    ) -> list[torch.Tensor]:
        """g̃ for each of ``parameters``. ``examples``: of the batch's ``size`` samples, None: it has none; ``layers``:
        the layer of each parameter; ``key``: (seed, round, client, step), which names the noise."""
        if examples is None:
            sums = [torch.zeros_like(parameter) for parameter in parameters]
        else:
            sums = examples.weighted_sums(self.factors(examples.squared_norms(), layers))
        deviation = self.deviation(size)
        if deviation and parameters:
            sums = [total + noise * deviation for total, noise in zip(sums, self._noise(parameters, key), strict=True)]
        return [total / self.divisor for total in sums]

    def factors(self, squared_norms: torch.Tensor, layers: Sequence[str]) -> torch.Tensor:
        """By what each sample's gradient of each parameter is multiplied, [B, P], from their squared norms [B, P]."""
        if self.max_norm is None:
            return torch.ones_like(squared_norms)
        if self.clipping == "flat":
            norms = squared_norms.sum(1, keepdim=True).sqrt()
            return (self.max_norm / norms).clamp(max=1).expand_as(squared_norms)
        names = list(dict.fromkeys(layers))
        number = torch.tensor([names.index(layer) for layer in layers])
        member = torch.nn.functional.one_hot(number, len(names)).to(squared_norms)  # [P, m]
        norms = (squared_norms @ member).sqrt()
        return (self.max_norm / len(names) ** 0.5 / norms).clamp(max=1)[:, number]

    def deviation(self, size: int) -> float:
        """s: the noise's standard deviation in the sum of a batch of ``size``."""
        scale = self.noise_multiplier * (self.max_norm or 0.0)
        return scale * max(size, 1) ** 0.5 if self.form == "thapa2022" else scale

    def _noise(self, parameters: Sequence[torch.Tensor], key: tuple[int, int, int, int]) -> list[torch.Tensor]:
        """Standard normal, drawn on the CPU, so that all devices agree."""
        seed, *whose = key
        generator = rng.torch_stream(seed, self.purpose, *whose)
        sizes = [parameter.numel() for parameter in parameters]
        drawn = torch.randn(sum(sizes), generator=generator, dtype=parameters[0].dtype)
        parts = torch.split(drawn, sizes)
        return [part.view(p.shape).to(p.device) for part, p in zip(parts, parameters, strict=True)]
