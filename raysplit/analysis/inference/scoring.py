"""An attack's scores, and those of guesses that saw nothing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from raysplit.analysis.inference.victims import Victims
from raysplit.analysis.scores.images import identified, mse, psnr, ssim
from raysplit.analysis.scores.labels import label_accuracy, permuted_accuracy
from raysplit.attacks.inference.inference_attack import Auxiliary, Reconstruction, Target


@dataclass(frozen=True)
class Score:
    """``value`` of a ``metric`` for whoever is named in ``of``: the attack, or a guess without it."""

    of: str
    metric: str
    value: float


def scores_of(name: str, found: Reconstruction, victims: Victims, target: Target) -> list[Score]:
    """The attack's scores first, then what guesses reach on the same samples."""
    scores: list[Score] = []
    if found.inputs is not None:
        tried = {name: found.inputs, **image_guesses(victims, target)}
        for of, images in tried.items():
            scores += _of_images(of, images, victims, target)
    if found.labels is not None:
        scores += _of_labels(name, found, victims, target)
    if found.clones and target.auxiliary is not None:
        scores += _of_clones(name, found.clones, target, target.auxiliary)
    return scores


def image_guesses(victims: Victims, target: Target) -> dict[str, torch.Tensor]:
    """Images that need no message: black, the mean of the auxiliary images, and of those of the right class."""
    guesses = {"black image": torch.full_like(victims.x, target.low)}
    auxiliary = target.auxiliary
    if auxiliary is not None:
        mean = auxiliary.x.mean(0)
        guesses["mean image"] = mean.expand_as(victims.x)
        by_class = {label: auxiliary.x[auxiliary.y == label].mean(0) for label in set(auxiliary.y.tolist())}
        guesses["mean image of the class"] = torch.stack([by_class.get(label, mean) for label in victims.y.tolist()])
    return guesses


def _of_images(of: str, found: torch.Tensor, victims: Victims, target: Target) -> list[Score]:
    """Images as an adversary would save them: cut to the range of inputs, which is scaled to 1."""
    span = target.high - target.low
    images = (found.clamp(target.low, target.high) - target.low) / span
    truth = (victims.x - target.low) / span
    scores = [
        Score(of, "MSE", float(mse(images, truth).mean())),
        Score(of, "PSNR, dB", float(psnr(images, truth).mean())),
        Score(of, "SSIM", float(ssim(images, truth).mean())),
    ]
    if target.auxiliary is not None:
        others = (target.auxiliary.x - target.low) / span
        scores.append(Score(of, "identified", float(identified(images, truth, others).double().mean())))
    return scores


def _of_labels(name: str, found: Reconstruction, victims: Victims, target: Target) -> list[Score]:
    assert found.labels is not None
    commonest = victims.y.bincount(minlength=target.classes).argmax().expand_as(victims.y)
    scores = []
    if found.labels_up_to_permutation:
        value = permuted_accuracy(found.labels, victims.y, target.classes)
        scores.append(Score(name, "labels right, best naming", value))
        generator = torch.Generator().manual_seed(target.seed)
        dice = torch.randint(target.classes, victims.y.shape, generator=generator)
        scores.append(Score("dice", "labels right, best naming", permuted_accuracy(dice, victims.y, target.classes)))
    else:
        scores.append(Score(name, "labels right", label_accuracy(found.labels, victims.y)))
        scores.append(Score("the commonest label", "labels right", label_accuracy(commonest, victims.y)))
    return scores


@torch.no_grad()
def _of_clones(name: str, clones: tuple[nn.Module, ...], target: Target, data: Auxiliary) -> list[Score]:
    """Accuracy of server ∘ clone on auxiliary samples, and its agreement with the true model, mean over clones."""
    truth = target.finish(target.client(data.x)).argmax(1)
    found = {name: clones, "an untrained clone": (target.untrained(1 << 20),), "the true portion": (target.client,)}
    scores = []
    for of, portions in found.items():
        answers = [target.finish(portion(data.x)).argmax(1) for portion in portions]
        right = [float((answer == data.y).double().mean()) for answer in answers]
        agreed = [float((answer == truth).double().mean()) for answer in answers]
        scores.append(Score(of, "accuracy with the clone", sum(right) / len(right)))
        scores.append(Score(of, "agreement with the model", sum(agreed) / len(agreed)))
    return scores
