"""SafeSplit: take a client's local round back when the server portion changed in another way than it did under most
other clients.

Rieger, Pegoraro, Kumari, Abera, Knauer, Sadeghi, "SafeSplit: A Novel Defense Against Client-Side Backdoor Attacks in
Split Learning", NDSS 2025, arXiv 2501.06650. **From memory and the abstract; the paper's text was not at hand.** The
abstract gives the frame: after a client's training the server goes back over its checkpoints to the latest one that is
benign; a static analysis of the layers' change in the frequency domain, and a rotational distance of their orientation.
From memory, unverified: the 2-D DCT of each layer's update of which the low frequencies are compared, the score as a
sum over the N/2 + 1 closest local rounds, a benign local round as one that both analyses count among the N/2 + 1
lowest, N = 10. Our own choices are named in ``SafeSplit``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

from raysplit.defenses.detection.detection import Judgement, LocalRoundView, Rollback
from raysplit.errors import ScenarioError
from raysplit.memory.memory import State
from raysplit.parts.part import part, within


@part
class SafeSplit(Rollback):
    """Rollback for protocols whose clients come one after another. ``window``: N, local rounds compared, and portions
    kept (N · d_S floats and their optimiser states, in every checkpoint too). ``low``: share of frequencies kept along
    each axis of a layer's update.

    A local round's two scores are sums of distances to the N/2 + 1 local rounds closest to it: Euclidean distances of
    the low frequencies (static), and of the angles by which each parameter tensor turned (dynamic; one angle a tensor
    is ours, as the paper's aggregate over layers could not be checked). A local round is benign where each score is at
    most ``margin`` times the largest among the N/2 + 1 lowest. ``margin=1`` is the rule as remembered, which finds N/2
    − 1 local rounds of any window not benign, whoever they are; the default spares honest clients that differ a little.

    What is not benign is taken back to the latest accepted local round that is still benign; without one, only this
    local round is taken back (ours). Those taken back stay in the window to be compared with, and can never be gone
    back to (ours). Nothing is judged before ``least`` local rounds are there. **The paper, from memory, takes back the
    clients' layers too. Here the main server takes back what it holds**, its portion and its optimiser; what a client
    hands over or sends to the fed server is left as it is.
    """

    window: int = 10
    low: float = 0.25
    margin: float = 1.5
    least: int = 5

    def __post_init__(self) -> None:
        within("SafeSplit.least", self.least, 3)
        if self.window < self.least:
            raise ScenarioError(
                f"SafeSplit.window must be at least SafeSplit.least, {self.least}, or nothing is ever judged, but it "
                f"is {self.window}"
            )
        if not 0 < self.low <= 1:
            raise ScenarioError(f"SafeSplit.low is a share and must be above 0 and at most 1, but it is {self.low!r}")
        within("SafeSplit.margin", self.margin, 1)

    def judge(self, view: LocalRoundView, memory: Mapping[str, torch.Tensor]) -> Judgement:
        pairs = list(zip(view.before, view.after, strict=True))
        static = torch.cat([low_frequencies(after - before, self.low) for before, after in pairs])
        angles = torch.stack([angle(before, after) for before, after in pairs])
        after: State = {
            "static": _with_last(memory.get("static"), static, self.window),
            "angles": _with_last(memory.get("angles"), angles, self.window),
            "stands": _with_last(memory.get("stands"), torch.ones((), dtype=torch.bool), self.window),
        }
        stands = after["stands"]
        if len(stands) < self.least:
            return Judgement(0, after)
        benign = majority(scores(after["static"]), self.margin) & majority(scores(after["angles"]), self.margin)
        if bool(benign[-1]):
            return Judgement(0, after)
        stands[-1] = False
        earlier = (
            torch.nonzero(stands).flatten().flip(0)
        )  # the latest first; it left the portion with which this local round began
        found = torch.nonzero(benign[earlier]).flatten()
        back = int(found[0]) if len(found) else 0
        stands[earlier[:back]] = False
        return Judgement(1 + back, after)


def low_frequencies(update: torch.Tensor, share: float) -> torch.Tensor:
    """The lowest ``share`` of an update's orthonormal DCT-II along each axis, flat, float64 on the CPU.

    A layer's weight is taken as a matrix [out, everything else], a bias as one row.
    """
    matrix = update.detach().cpu().double()
    matrix = matrix.flatten(1) if matrix.dim() > 1 else matrix.reshape(1, -1)
    spectrum = dct(dct(matrix).T).T
    rows, columns = (math.ceil(share * size) for size in spectrum.shape)
    return spectrum[:rows, :columns].flatten()


def dct(rows: torch.Tensor) -> torch.Tensor:
    """The orthonormal DCT-II of every row, [n, m] → [n, m]: c_k Σ_j x_j cos(π (j + ½) k / m), by one FFT of the row and
    its mirror image."""
    size = rows.shape[1]
    mirrored = torch.fft.rfft(torch.cat([rows, rows.flip(1)], dim=1), dim=1)[:, :size]
    angles = torch.arange(size, dtype=torch.float64) * (-math.pi / (2 * size))
    cosines = (mirrored * torch.polar(torch.ones_like(angles), angles)).real / 2
    scale = torch.full((size,), math.sqrt(2 / size), dtype=torch.float64)
    scale[0] = math.sqrt(1 / size)
    return cosines * scale


def angle(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """By how many radians a tensor turned, 0 … π; 0 where it was or became nothing. Exact for small angles too, where
    an arc cosine is not."""
    one, other = (tensor.detach().cpu().double().flatten() for tensor in (before, after))
    lengths = torch.linalg.vector_norm(one), torch.linalg.vector_norm(other)
    if not bool(lengths[0]) or not bool(lengths[1]):
        return torch.zeros((), dtype=torch.float64)
    one, other = one / lengths[0], other / lengths[1]
    return 2 * torch.atan2(torch.linalg.vector_norm(one - other), torch.linalg.vector_norm(one + other))


def scores(rows: torch.Tensor) -> torch.Tensor:
    """Sums of the Euclidean distances of each row to the n/2 + 1 others closest to it (to all others where they are
    fewer), [n]."""
    count = len(rows)
    distances = torch.linalg.vector_norm(rows.unsqueeze(1) - rows.unsqueeze(0), dim=2)
    distances.fill_diagonal_(torch.inf)
    return distances.sort(1).values[:, : min(count // 2 + 1, count - 1)].sum(1)


def majority(values: torch.Tensor, margin: float) -> torch.Tensor:
    """bool [n]: which scores are at most ``margin`` times the largest among the n/2 + 1 lowest. A score that is no
    number never is."""
    return values <= margin * values.sort().values[len(values) // 2]


def _with_last(rows: torch.Tensor | None, last: torch.Tensor, most: int) -> torch.Tensor:
    """``rows`` [n, …] with one more at the end; the first goes where there would be more than ``most``."""
    parts: Sequence[torch.Tensor] = [last.unsqueeze(0)] if rows is None else [rows[-(most - 1) :], last.unsqueeze(0)]
    return torch.cat(list(parts))
