"""Label flipping that asks the model: each sample gets the class that is least likely or lies farthest.

The idea is that of dynamic label flipping (Shejwalkar et al., IEEE S&P 2022) and of the distance-based flips on
SplitFed of Ismail & Shukla (arXiv 2307.03197, 2023). Neither paper is at hand and both are from memory, so this is our
definition, not a claim to be theirs.
"""

from __future__ import annotations

import torch

from raysplit.aggregation.update_attack import check_start_round
from raysplit.attacks.data.data_attack import DataAttack, DataView, check_share, pick, relabelled
from raysplit.parts.part import part
from raysplit.population.population import Samples


@part
class FarthestLabelFlip(DataAttack):
    """Untargeted; ``share`` of the client's samples. The labels depend on the portion that it was sent, so they change
    from round to round.

    Where the client was sent the whole model (``FedAvg``, ``Centralized``): the class of the lowest logit that is not
    the true one. Where it was sent a head: it has no logits, and takes, of the classes that it owns itself, the one
    whose mean smashed data lie farthest from the sample's own smashed data in Euclidean distance, but never the true
    one. A client with samples of one class has nothing to flip to there, and leaves them. A client whose local round
    goes on from an earlier round (``BufferedSplitFed``) asks the portion that it has by now.
    """

    share: float = 1.0
    start_round: int = 1

    def __post_init__(self) -> None:
        check_start_round("FarthestLabelFlip", self.start_round)
        check_share("FarthestLabelFlip.share", self.share)

    def poison_samples(self, view: DataView) -> Samples:
        assert view.forward is not None, "needs a client's portion"
        found = view.forward(view.own.x).flatten(1).cpu()
        y = view.own.y
        unlikely = -found[:, : view.classes] if view.whole else _distances(found, y, view.classes)
        unlikely = unlikely.scatter(1, y[:, None], -torch.inf)
        flippable = unlikely.max(1).values > -torch.inf
        chosen = pick(view, flippable, self.share)
        return relabelled(view.own, chosen, unlikely[chosen].argmax(1))


def _distances(smashed: torch.Tensor, y: torch.Tensor, classes: int) -> torch.Tensor:
    """Squared distance of every sample's smashed data [n, d] from each class's mean, [n, classes]; −inf for classes
    that the client lacks."""
    wide = smashed.double()
    far = torch.full((len(y), classes), -torch.inf, dtype=torch.float64)
    for label in sorted(set(y.tolist())):
        mean = wide[y == label].mean(0)
        far[:, label] = (wide - mean).square().sum(1)
    return far
