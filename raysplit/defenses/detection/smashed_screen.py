"""Statistics of smashed data: their length, and how far a client's class means lie from those of the others."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from raysplit.defenses.detection.detection import Screen, SplitStepView, Verdict
from raysplit.defenses.detection.label_screen import check_ranges
from raysplit.defenses.detection.peers import add_split_step, deviation, means
from raysplit.defenses.detection.sketch import sketch
from raysplit.parts.part import part, within

FLOOR = 0.05
"""Of a logarithm: lengths and distances within some 5 % of the median are never remarkable."""
TINY = 1e-12


@part
class SmashedScreen(Screen):
    """Rejects split steps of a client whose smashed data lie ``threshold`` robust standard deviations off the other
    clients', by either of two logarithms, means over the client's local round so far:

    - the length of a sample's smashed data, ‖z_i‖, too large or too small;
    - the distance of the client's class means from the coordinate-wise median of the other clients' means of that
      class, averaged over the classes that it has brought, too large. Without labels (U-shape) all samples are one
      class.

    Against smashed data that were replaced, scaled, shifted or drowned in noise on their way. Our own, from textbook
    robust statistics; no paper. Class means are kept as sketches of ``sketch`` floats, clients · classes · sketch
    float64 in all. It assumes an honest majority among the last ``clients`` clients, and judges nobody before ``least``
    others have come. A malicious client that stays within the spread of honest clients passes.
    """

    threshold: float = 5.0
    clients: int = 50
    least: int = 4
    sketch: int = 32

    def __post_init__(self) -> None:
        check_ranges("SmashedScreen", self.threshold, self.clients, self.least)
        within("SmashedScreen.sketch", self.sketch, 1)

    def judge(self, view: SplitStepView, memory: Mapping[str, torch.Tensor]) -> Verdict:
        z = view.smashed.detach().flatten(1)
        norm = torch.linalg.vector_norm(z, dim=1).mean().cpu().double()
        amounts = {"norm": norm.clamp_min(TINY).log(), "distance": torch.zeros((), dtype=torch.float64)}
        sums, counts = self._by_class(view)
        after = add_split_step(
            memory, view.client, view.round, {**amounts, "sums": sums, "counts": counts}, self.clients + 1
        )
        distance = _distance(after["sums"], after["counts"])
        after["distance"][-1] += distance.clamp_min(TINY).log()
        if len(after["norm"]) <= self.least:
            return Verdict(True, after)
        lengths = deviation(means(after, "norm"), FLOOR)
        away = deviation(means(after, "distance"), FLOOR)
        return Verdict(abs(lengths) <= self.threshold and away <= self.threshold, after)

    def _by_class(self, view: SplitStepView) -> tuple[torch.Tensor, torch.Tensor]:
        """Sums of the split step's sketches by class, [classes, sketch], and samples by class, [classes]."""
        short = sketch(view.smashed, self.sketch)
        labels = torch.zeros(len(short), dtype=torch.int64) if view.labels is None else view.labels.cpu()
        member = torch.zeros(1 if view.labels is None else view.classes, len(short), dtype=torch.float64)
        member[labels, torch.arange(len(short))] = 1
        return member @ short, member.sum(1)


def _distance(sums: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """How far the last entry's class means are from the others' median, averaged over the classes that it and others
    have brought.

    ``sums`` [n, classes, p], ``counts`` [n, classes]. 1, an unremarkable number, where there are no such classes."""
    centres = (sums / counts.unsqueeze(2)).masked_fill(counts.unsqueeze(2) == 0, torch.nan)
    shared = (counts[-1] > 0) & (counts[:-1] > 0).any(0)
    if not bool(shared.any()):
        return torch.ones((), dtype=torch.float64)
    usual = centres[:-1, shared].nanmedian(0).values
    return torch.linalg.vector_norm(centres[-1, shared] - usual, dim=1).mean()
