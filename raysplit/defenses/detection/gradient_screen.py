"""Statistics of gradients at the cut: their length, and whether they point where the other clients' do."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from raysplit.defenses.detection.detection import Screen, SplitStepView, Verdict
from raysplit.defenses.detection.label_screen import check_ranges
from raysplit.defenses.detection.peers import add_split_step, deviation, means
from raysplit.defenses.detection.sketch import sketch
from raysplit.parts.part import part, within

FLOOR = 0.05
"""Of a logarithm and of a cosine: smaller differences are never remarkable."""
TINY = 1e-12


@part
class GradientScreen(Screen):
    """Rejects split steps of a client whose gradients lie ``threshold`` robust standard deviations off the other
    clients', by either of two numbers, means over the client's local round so far:

    - the logarithm of the root mean square length of a sample's gradient, √(Σ_i ‖B·∂L/∂z_i‖² / B), too large or too
      small;
    - the cosine of the batch's mean gradient with the running benign direction, the coordinate-wise median of the other
      clients' mean directions, too small.

    The gradients are ∂L/∂Z, which the server computes itself and which betrays wrong labels and strange smashed data;
    in a U-shape they are ∂L/∂features, which clients send and can replace. Our own, after norm and cosine tests on
    updates in federated learning; no paper. Directions are kept as sketches of ``sketch`` floats. It assumes an honest
    majority among the last ``clients`` clients, and judges nobody before ``least`` others have come.
    """

    threshold: float = 5.0
    clients: int = 50
    least: int = 4
    sketch: int = 64

    def __post_init__(self) -> None:
        check_ranges("GradientScreen", self.threshold, self.clients, self.least)
        within("GradientScreen.sketch", self.sketch, 1)

    def judge(self, view: SplitStepView, memory: Mapping[str, torch.Tensor]) -> Verdict:
        gradients = view.gradients.detach().flatten(1)
        length = torch.linalg.vector_norm(gradients).cpu().double() * len(gradients) ** 0.5
        short = sketch(gradients.sum(0, keepdim=True), self.sketch)[0]
        direction = short / torch.linalg.vector_norm(short).clamp_min(TINY)
        amounts = {
            "length": length.clamp_min(TINY).log(),
            "cosine": torch.zeros((), dtype=torch.float64),
            "direction": direction,
        }
        after = add_split_step(memory, view.client, view.round, amounts, self.clients + 1)
        if len(after["length"]) > 1:
            usual = (after["direction"] / after["visits"].unsqueeze(1))[:-1].median(0).values
            after["cosine"][-1] += direction @ usual / torch.linalg.vector_norm(usual).clamp_min(TINY)
        if len(after["length"]) <= self.least:
            return Verdict(True, after)
        lengths = deviation(means(after, "length"), FLOOR)
        agreement = deviation(means(after, "cosine"), FLOOR)
        return Verdict(abs(lengths) <= self.threshold and agreement >= -self.threshold, after)
