"""The noise layer of PixelDP (Lecuyer et al. 2019, section 3.2): x + σ·Z, where Z is standard normal or Laplace noise and
σ goes by the sensitivity of the layers before it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

import torch
from torch import nn

from raysplit import rng
from raysplit.models.keyed import KeyedLayer, StepKey
from raysplit.models.noise.sensitivity import Sensitivity

Mechanism = Literal["gaussian", "laplace"]


class StreamName(NamedTuple):
    """Of the stream (seed, purpose, indices…) that noise is drawn from."""

    seed: int
    purpose: str
    indices: tuple[int, ...] = ()


_UNNAMED = StreamName(0, "pixeldp_unnamed")


class NoiseLayer(KeyedLayer):
    """Adds noise to every number, in training and in prediction alike.

    ``scale_per_sensitivity``: the noise's standard deviation (Gaussian) or scale b (Laplace) over Δ. Δ is asked for in
    every pass, with the weights that the layers before have then, and is a constant to the gradient.

    In a training step noise comes from the stream (seed, "pixeldp_noise", round, client, step): a second pass in the
    same step meets the same noise. Whoever predicts names the stream by ``draw_from`` (``prediction.py``); in evaluation
    mode without a name it is one and the same draw every time. Raises ``RuntimeError`` in training before ``set_key``.
    """

    def __init__(
        self, mechanism: Mechanism, scale_per_sensitivity: float, sensitivity: Sensitivity, draws: int
    ) -> None:
        super().__init__()
        self.mechanism: Mechanism = mechanism
        self.scale_per_sensitivity = scale_per_sensitivity
        self.sensitivity = sensitivity
        self.draws = draws
        self._key: StepKey | None = None
        self._stream: StreamName | None = None

    def set_key(self, key: StepKey | None) -> None:
        self._key = key

    def draw_from(self, stream: StreamName | None) -> None:
        """Where noise comes from, whosever step it is; None: from the step's own stream again."""
        self._stream = stream

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = self.scale_per_sensitivity * self.sensitivity.of(x)
        stream = self._named()
        generator = rng.torch_stream(stream.seed, stream.purpose, *stream.indices)
        noise = standard_noise(self.mechanism, x.shape, generator)
        return x + noise.to(x.device, x.dtype).mul_(scale)

    def _named(self) -> StreamName:
        if self._stream is not None:
            return self._stream
        if not self.training:
            return _UNNAMED
        if self._key is None:
            raise RuntimeError("a noise layer trains before anybody said whose step it is; call key_layers() first")
        seed, *whose = self._key
        return StreamName(seed, "pixeldp_noise", tuple(whose))

    def extra_repr(self) -> str:
        return f"{self.mechanism}, {self.scale_per_sensitivity:g} × sensitivity"


def standard_noise(mechanism: Mechanism, shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    """Float32 on the CPU: normal of deviation 1, or Laplace of scale 1, the difference of two exponential numbers."""
    if mechanism == "gaussian":
        return torch.randn(shape, generator=generator)
    first = torch.empty(shape).exponential_(generator=generator)
    return first - torch.empty(shape).exponential_(generator=generator)


def noise_layers_in(modules: Iterable[nn.Module]) -> list[NoiseLayer]:
    return [layer for module in modules for layer in module.modules() if isinstance(layer, NoiseLayer)]
