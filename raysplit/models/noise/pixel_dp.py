"""A network with a noise layer in its client portion: PixelDP (Lecuyer et al. 2019; Thapa et al. 2022, eqs. 4 to 6)."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from torch import nn

from raysplit.errors import ScenarioError, nearest
from raysplit.models.network import ModelSpec
from raysplit.models.noise.layer import Mechanism, NoiseLayer
from raysplit.models.noise.sensitivity import (
    BoundedSensitivity,
    MeasuredSensitivity,
    NotedInput,
    Sensitivity,
    unbounded,
)
from raysplit.models.outline import outline
from raysplit.parts.part import part, within

_NOISE, _INPUT = "pixel_dp", "pixel_dp_input"
_MIXING = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)


@part
class PixelDp(ModelSpec):
    """``model`` with noise ``after`` one of its layers: a stage by its own or a paper's name, or a layer within one as
    ``"conv1.0"``; None: on the input.

    ``epsilon``, ``delta``: of (ε, δ)-PixelDP towards changes of the input of ‖α‖_norm ≤ ``bound`` (L, in units of what
    the network sees, after ``Scenario.pixels``): a guarantee about the *prediction of an example that somebody changes*,
    none about training data; it does not add up with DP-SGD's ε. With Δ the sensitivity of the layers before the noise
    (``norm`` → 2 for Gaussian, → 1 for Laplace noise):

    - ``"gaussian"``: σ = √(2 ln(1.25/δ)) Δ L / ε, for ε ≤ 1;
    - ``"laplace"``: b = Δ L / ε; δ plays no part.

    ``sensitivity``: ``"bounded"`` is a true upper bound, the product of the layers' operator norms, refused where a layer
    has no known one; ``"measured"`` is the largest ratio among pairs of the batch at hand, an estimate that guarantees
    nothing. Either is taken anew in every pass, in training and in prediction, with the weights that the layers have
    then: σ follows the weights, and the guarantee holds of whatever model predicts.

    ``form="thapa2022"`` is eqs. (4) and (5) as printed: Laplace noise of scale Δ/ε′ with the measured Δ of one norm for
    inputs and outputs, without L. It guarantees nothing.

    Prediction is the mean softmax over ``draws`` draws of the noise, seeded, so that it is the same every time. ``cut``
    and ``tail`` are the model's unless given.
    """

    model: ModelSpec
    epsilon: float
    after: str | None
    bound: float = 0.1
    mechanism: Mechanism = "gaussian"
    norm: Literal[1, 2] = 2
    delta: float = 0.05
    sensitivity: Literal["bounded", "measured"] = "bounded"
    form: Literal["lecuyer2019", "thapa2022"] = "lecuyer2019"
    draws: int = 25
    cut: str | None = None
    tail: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.model, PixelDp):
            raise ScenarioError("PixelDp.model is a PixelDp, but a network has one noise layer; give the model in it")
        if self.epsilon <= 0 or (self.mechanism == "gaussian" and self.epsilon > 1):
            high = " and, for Gaussian noise, at most 1" if self.mechanism == "gaussian" else ""
            raise ScenarioError(f"PixelDp.epsilon must be above 0{high}, but it is {self.epsilon!r}")
        if self.bound <= 0:
            raise ScenarioError(f"PixelDp.bound must be a length above 0, but it is {self.bound!r}")
        if not 0 < self.delta < 1:
            raise ScenarioError(f"PixelDp.delta must lie between 0 and 1, but it is {self.delta!r}")
        within("PixelDp.draws", self.draws, 1)
        printed = self.mechanism == "laplace" and self.sensitivity == "measured" and self.bound == 1
        if self.form == "thapa2022" and not printed:
            raise ScenarioError(
                "PixelDp(form='thapa2022') is Laplace noise of a measured sensitivity without an attack bound; write "
                "mechanism='laplace', sensitivity='measured' and bound=1"
            )
        if self.cut is None:
            object.__setattr__(self, "cut", self.model.cut)
        if self.tail is None:
            object.__setattr__(self, "tail", self.model.tail)
        self._check_layers()

    def _check_layers(self) -> None:
        """Raise ``ScenarioError`` for a place that is none, and layers before it of which Δ cannot be told."""
        kind = type(self.model).__name__
        if self.model.reads_bytes:
            raise ScenarioError(
                f"PixelDp adds noise to images, but {kind} reads packed graphs or texts byte by byte; use another model"
            )
        before = self._before(self._noised(outline(self.model), NoiseLayer(self.mechanism, 0.0, _Unknown(), 1)))
        mixing = next((layer for layer in before if isinstance(layer, _MIXING)), None)
        if mixing is not None:
            raise ScenarioError(
                f"PixelDp goes by what the layers before the noise make of one sample, but {kind} has "
                f"{type(mixing).__name__} there; put the noise before it"
            )
        strange = unbounded(before) if self.sensitivity == "bounded" else None
        if strange is not None:
            raise ScenarioError(
                f"PixelDp(sensitivity='bounded') knows no bound of {kind}'s {type(strange).__name__} before the noise; "
                "put the noise before it, or say sensitivity='measured', which guarantees nothing"
            )

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return self.model.input_shape

    @property
    def classes(self) -> int:
        return self.model.classes

    @property
    def cuts(self) -> Mapping[str, str]:
        return self.model.cuts

    @property
    def smashed_varies(self) -> bool:
        return self.model.smashed_varies

    @property
    def noise_stage(self) -> str:
        """The name of the stage that ends with or holds the noise, or begins with it."""
        if self.after is None:
            return outline(self.model)[0][0]
        stage = self.after.partition(".")[0]
        return self.model.cuts.get(stage, stage)

    @property
    def output_norm(self) -> Literal[1, 2]:
        """q, in which the noise covers what the layers before it give."""
        if self.form == "thapa2022":
            return self.norm
        return 2 if self.mechanism == "gaussian" else 1

    @property
    def scale_per_sensitivity(self) -> float:
        """σ/Δ, of Laplace noise b/Δ: what an input's changes are drowned in, in units of ‖α‖_norm."""
        if self.mechanism == "laplace":
            return self.bound / self.epsilon
        return math.sqrt(2 * math.log(1.25 / self.delta)) * self.bound / self.epsilon

    @property
    def guarantee(self) -> bool:
        """Whether the noise is calibrated by a true bound."""
        return self.sensitivity == "bounded"

    def stages(self) -> list[tuple[str, nn.Module]]:
        noise = NoiseLayer(self.mechanism, self.scale_per_sensitivity, _Unknown(), self.draws)
        stages = self._noised(self.model.stages(), noise)
        noise.sensitivity = self._sensitivity(stages)
        return stages

    def _sensitivity(self, stages: list[tuple[str, nn.Module]]) -> Sensitivity:
        layers = self._before(stages)
        if self.sensitivity == "bounded":
            return BoundedSensitivity(layers, self.input_shape, self.norm, self.output_norm)
        noted = NotedInput()
        name, first = stages[0]
        stages[0] = name, _joined((_INPUT, noted), *_parts(first))
        return MeasuredSensitivity(layers, noted, self.norm, self.output_norm)

    def _noised(self, stages: list[tuple[str, nn.Module]], noise: NoiseLayer) -> list[tuple[str, nn.Module]]:
        """The stages with the noise among them; their names stay, and those of all layers that were in a
        ``Sequential``."""
        names = [name for name, _ in stages]
        kind = type(self.model).__name__
        if self.after is None:
            name, first = stages[0]
            return [(name, _joined((_NOISE, noise), *_parts(first))), *stages[1:]]
        at, path = self.noise_stage, self.after.partition(".")[2]
        if at not in names:
            raise ScenarioError(f"PixelDp.after={self.after!r} is no layer of {kind}; {nearest(at, names)}")
        try:
            return [(name, _after(stage, path, noise) if name == at else stage) for name, stage in stages]
        except LookupError as error:
            raise ScenarioError(f"PixelDp.after={self.after!r} is no layer of {kind}: {error.args[0]}") from error

    def _before(self, stages: Sequence[tuple[str, nn.Module]]) -> tuple[nn.Module, ...]:
        """The single layers that a sample passes before the noise."""
        layers = []
        for layer in (layer for _, stage in stages for layer in _single(stage)):
            if isinstance(layer, NoiseLayer):
                break
            layers.append(layer)
        return tuple(layers)


class _Unknown:
    """Before the layers are known."""

    def of(self, outputs: object) -> float:
        raise RuntimeError("this noise layer stands in no network")


def _after(stage: nn.Module, path: str, noise: NoiseLayer) -> nn.Module:
    """``stage`` with ``noise`` at its end, or after the layer at ``path`` in it."""
    if not path:
        return _joined(*_parts(stage), (_NOISE, noise))
    name, _, rest = path.partition(".")
    layers = _parts(stage) if type(stage) is nn.Sequential else []
    names = [own for own, _ in layers]
    if name not in names:
        raise LookupError(
            f"a {type(stage).__name__} has no {name!r}, only {', '.join(map(repr, names)) or 'its whole'}"
        )
    at = names.index(name)
    if rest:
        layers[at] = name, _after(layers[at][1], rest, noise)
        return _joined(*layers)
    return _joined(*layers[: at + 1], (_NOISE, noise), *layers[at + 1 :])


def _parts(stage: nn.Module) -> list[tuple[str, nn.Module]]:
    """The layers of a plain chain by their names, a single layer as ``"layer"``."""
    if type(stage) is not nn.Sequential:
        return [("layer", stage)]
    return [(name, layer) for name, layer in stage._modules.items() if layer is not None]


def _joined(*layers: tuple[str, nn.Module]) -> nn.Sequential:
    return nn.Sequential(OrderedDict(layers))


def _single(stage: nn.Module) -> Iterator[nn.Module]:
    if type(stage) is nn.Sequential:
        for layer in stage._modules.values():
            assert layer is not None
            yield from _single(layer)
    else:
        yield stage
