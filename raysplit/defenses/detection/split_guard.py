"""SplitGuard (Erdogan, Küpçü, Çiçek, WPES 2022): batches with wrong labels, and whether the server takes offence."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from raysplit.defenses.detection.client_detector import AnsweredView, BatchView, ClientDetector, ClientVerdict
from raysplit.memory.memory import State
from raysplit.parts.part import part, within

FAKE, ONE, OTHER = "fake", "regular_1", "regular_2"


@part
class SplitGuard(ClientDetector):
    """A server that trains on the labels answers wrong ones with gradients that are longer and turned away from the
    usual; one that does not cannot tell.

    After ``start`` batches a client sends each with probability ``p_fake`` as a fake one, its labels all shifted by one
    number from 1 to C − 1 (mod C), and learns nothing from the answer. The other batches are dealt to R_1 and R_2 at
    random as they come. On gradients of the portion's first weight, at each fake batch, the sets' means F, R_1, R_2 and
    mean norms ‖F‖, ‖R_1‖, ‖R_2‖, with c and ‖c‖ the halves of the sums of R_1's and R_2's (∠ in radians)::

        raw   = (∠(F, c)·|‖F‖ − ‖c‖| − ∠(R_1, R_2)·|‖R_1‖ − ‖R_2‖|) / D
        D     = |‖F‖ − ‖c‖| + |‖R_1‖ − ‖R_2‖|
        score = sigmoid(mult · raw)^exponent

    where D = 0 gives raw = 0 and a mean of zero no angle. Numbers are the authors' code's; ``window`` and ``threshold``
    are from the code of URVFL, which alone takes zeros into the mean for all regular batches and so finds every server
    guilty. Fake batches are messages like others: the server portion learns on them, and the client does not have them
    for its task.
    """

    p_fake: float = 0.1
    start: int = 20
    mult: float = 5.0
    exponent: float = 2.0
    window: int = 15
    threshold: float = 0.9

    def __post_init__(self) -> None:
        within("SplitGuard.p_fake", self.p_fake, 0, 1)
        within("SplitGuard.start", self.start, 0)
        within("SplitGuard.mult", self.mult, 0)
        within("SplitGuard.exponent", self.exponent, 0)
        within("SplitGuard.window", self.window, 1)
        within("SplitGuard.threshold", self.threshold, 0, 1)

    def pretended(self, view: BatchView, memory: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
        if view.batch <= self.start or view.classes < 2 or view.rng.random() >= self.p_fake:
            return None
        return (view.labels + int(view.rng.integers(1, view.classes))) % view.classes

    def judge(self, view: AnsweredView, memory: Mapping[str, torch.Tensor]) -> ClientVerdict:
        if view.batch <= self.start:
            return ClientVerdict(None)
        regular = ONE if view.rng.random() < 0.5 else OTHER
        kept = _with(memory, FAKE if view.fake else regular, view.first_layer.cpu().double())
        if not view.fake or f"{ONE}/batches" not in kept or f"{OTHER}/batches" not in kept:
            return ClientVerdict(None, kept)
        (fake, fake_norm), (one, one_norm), (other, other_norm) = (_means(kept, name) for name in (FAKE, ONE, OTHER))
        raw = guarded(fake, fake_norm, one, one_norm, other, other_norm)
        return ClientVerdict((1 / (1 + math.exp(-self.mult * raw))) ** self.exponent, kept)


def guarded(
    fake: torch.Tensor, fake_norm: float, one: torch.Tensor, one_norm: float, other: torch.Tensor, other_norm: float
) -> float:
    """The raw score, from means [d_1] and mean norms of the three sets."""
    apart, usual = abs(fake_norm - (one_norm + other_norm) / 2), abs(one_norm - other_norm)
    if apart + usual == 0:
        return 0.0
    return (_angle(fake, (one + other) / 2) * apart - _angle(one, other) * usual) / (apart + usual)


def _angle(a: torch.Tensor, b: torch.Tensor) -> float:
    length = float(torch.linalg.vector_norm(a) * torch.linalg.vector_norm(b))
    return math.acos(max(-1.0, min(1.0, float(a @ b) / length))) if length > 0 else 0.0


def _with(memory: Mapping[str, torch.Tensor], name: str, gradient: torch.Tensor) -> State:
    """Sums of a set's gradients and of their norms, and how many they are, with one more."""
    kept = dict(memory)
    for kind, value in (
        ("sum", gradient),
        ("norms", torch.linalg.vector_norm(gradient)),
        ("batches", torch.tensor(1)),
    ):
        key = f"{name}/{kind}"
        kept[key] = kept[key] + value if key in kept else value
    return kept


def _means(kept: Mapping[str, torch.Tensor], name: str) -> tuple[torch.Tensor, float]:
    batches = int(kept[f"{name}/batches"])
    return kept[f"{name}/sum"] / batches, float(kept[f"{name}/norms"]) / batches
