"""The exact case of gradient inversion: samples read off the update of a dense first layer."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import nn

from raysplit.attacks.inference.adversary import Fact
from raysplit.attacks.inference.inference_attack import Goal, InferenceAttack, Knowledge, Observed, Reconstruction
from raysplit.channels.channel import Channel
from raysplit.errors import ScenarioError
from raysplit.models.network import ModelSpec
from raysplit.models.outline import outline
from raysplit.parts.part import part
from raysplit.protocols.requirements import Requirement

_PASSING = (nn.Flatten, nn.Identity, nn.Unflatten)
_AGREE = 1e-3


@part
class DenseLayerInversion(InferenceAttack):
    """x = ΔW_i / Δb_i for any unit i of a dense first layer W·x + b whose Δb_i is not 0.

    With δ = ∂L/∂(W·x + b), ∂L/∂W = δ·xᵀ and ∂L/∂b = δ. **One sample is exact**, whatever lies behind the layer, and for
    any number of steps by SGD, with momentum too: all of them add multiples of xᵀ. Weight decay and Adam end that.

    **Of several samples**, row i is Σ_j δ_ij·x_j / Σ_j δ_ij: the sample itself where unit i was active for that one alone,
    as behind a ReLU some units are, and a mixture elsewhere. Rows that lie in the range of inputs are grouped by
    agreement (1e-3 of the range, since all rows of one sample agree and no two mixtures do); the largest groups come
    first, then those with the largest \\|Δb_i\\|. Where there are fewer groups than samples the rest is the mixture over all
    rows. ``least``: rows whose \\|Δb_i\\| is below this share of the largest one are noise and left out.

    The fed server needs nothing from the main server for it, so a SplitFed client portion with such a layer is as open as
    the whole model of FedAvg. Source: Phong et al. 2018, section III; Geiping et al. 2020, proposition 3.1.
    """

    least: float = 1e-3
    goal: Goal = "inputs"

    def __post_init__(self) -> None:
        if not 0 <= self.least < 1:
            raise ScenarioError(f"DenseLayerInversion.least is a share from 0 and below 1, but it is {self.least}")

    @property
    def reads(self) -> frozenset[Channel]:
        return frozenset({Channel.UPDATES})

    @property
    def needs(self) -> frozenset[Fact]:
        return frozenset({"client_weights"})

    @property
    def requires(self) -> Iterator[Requirement]:
        yield Requirement(
            lambda setting: _begins_dense(setting.model),
            "{component} reads samples off a dense first layer with a bias that trains, which {model} does not have; use "
            "GradientInversion",
        )

    def infer(self, observed: Observed, knowledge: Knowledge) -> Reconstruction:
        found = []
        for number, update in enumerate(observed.on(Channel.UPDATES)):
            weight, bias = list(knowledge.named_update(update).values())[:2]
            found.append(self._samples(weight, bias, int((observed.batches == number).sum()), knowledge.range))
        return Reconstruction(inputs=torch.cat(found).view(-1, *knowledge.input_shape))

    def _samples(self, weight: torch.Tensor, bias: torch.Tensor, count: int, span: tuple[float, float]) -> torch.Tensor:
        """[count, in] of ``weight`` [out, in] and ``bias`` [out], both of an update."""
        if not bias.any():
            raise ScenarioError(
                "DenseLayerInversion divides by the update of the first layer's bias, but that is 0: no unit was active; "
                "choose another round"
            )
        mixture = (bias @ weight / (bias @ bias))[None]
        if count == 1:
            return mixture
        order = bias.abs().argsort(descending=True)
        order = order[bias[order].abs() >= self.least * bias.abs().max()]
        rows = weight[order] / bias[order, None]
        slack = _AGREE * (span[1] - span[0])
        rows = rows[((rows >= span[0] - slack) & (rows <= span[1] + slack)).all(1)]
        groups: list[tuple[int, torch.Tensor]] = []
        while len(rows):
            alike = (rows - rows[0]).abs().amax(1) <= slack
            groups.append((int(alike.sum()), rows[0]))
            rows = rows[~alike]
        groups.sort(key=lambda group: -group[0])  # stable: among equal ones the largest |Δb_i| stays first
        found = [row for _, row in groups[:count]]
        return torch.stack([*found, *(mixture[0] for _ in range(count - len(found)))])


def _begins_dense(model: ModelSpec) -> bool:
    for _, stage in outline(model):
        for layer in stage.modules():
            if any(True for _ in layer.children()) or isinstance(layer, _PASSING):
                continue
            trains = all(parameter.requires_grad for parameter in layer.parameters())
            whole = isinstance(layer, nn.Linear) and layer.in_features == math.prod(model.input_shape)
            return whole and trains and isinstance(layer, nn.Linear) and layer.bias is not None
    return False
