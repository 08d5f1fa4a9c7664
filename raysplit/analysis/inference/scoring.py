"""An attack's scores, and those of guesses that saw nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from raysplit import rng
from raysplit.analysis.inference.matching import matched_by_update, several_in_one_update
from raysplit.analysis.inference.victims import Victims
from raysplit.analysis.scores.images import identified, mse, psnr, ssim, stretched
from raysplit.analysis.scores.labels import label_accuracy, leak_auc, permuted_accuracy
from raysplit.analysis.scores.membership import balanced_accuracy, true_positives_at
from raysplit.attacks.inference.inference_attack import Reconstruction
from raysplit.attacks.inference.target import Auxiliary, Target
from raysplit.channels.channel import Channel
from raysplit.errors import RunError

MATCHED = ", best matching"
"""Behind the name of who reconstructs the samples of an update, in whose order they come only with the truth."""
RATES = (0.01, 0.001)
"""False-positive rates at which membership is scored, where there are non-members enough: 100, 1000."""


@dataclass(frozen=True)
class Score:
    """``value`` of a ``metric`` for whoever is named in ``of``: the attack, or a guess without it."""

    of: str
    metric: str
    value: float


def scores_of(
    name: str,
    found: Reconstruction,
    victims: Victims,
    target: Target,
    told: Sequence[int] = (),
    guesses: Mapping[str, torch.Tensor] = {},
) -> list[Score]:
    """The attack's scores first, then what guesses reach on the same samples. ``told``: samples whose labels the attack
    was told, which are left out of scores on labels; ``guesses``: labels [n] of all, by who guesses.

    Raises ``RunError`` where no label is left to score.
    """
    scores: list[Score] = []
    if found.membership_scores is not None and victims.members is not None:
        scores += _of_membership(name, found.membership_scores, victims.members, target)
    if _in_any_order(victims):
        name += MATCHED
    if found.inputs is not None:
        tried = {name: found.inputs, **image_guesses(victims, target)}
        for of, images in tried.items():
            scores += _of_images(of, images, victims, target)
    if found.labels is not None or found.positive_scores is not None:
        left = torch.ones(len(victims), dtype=torch.bool)
        left[list(told)] = False
        if not left.any():
            raise RunError(f"{name} was told the labels of all {len(victims)} samples; attack more: --samples")
        if found.labels is not None:
            scores += _of_labels(name, found, guesses, victims.y, left, target)
        if found.positive_scores is not None:
            scores += _of_two_classes(name, found, found.positive_scores, victims, left, target)
    if found.clones and target.auxiliary is not None:
        scores += _of_clones(name, found.clones, target, target.auxiliary)
    return scores


def image_guesses(victims: Victims, target: Target) -> dict[str, torch.Tensor]:
    """Images that need no message: black, the mean of the auxiliary images, and of those of the right class; where
    reconstructions are matched to samples, random auxiliary images matched as they are."""
    guesses = {"black image": torch.full_like(victims.x, target.low)}
    auxiliary = target.auxiliary
    if auxiliary is not None:
        mean = auxiliary.x.mean(0)
        guesses["mean image"] = mean.expand_as(victims.x)
        by_class = {label: auxiliary.x[auxiliary.y == label].mean(0) for label in set(auxiliary.y.tolist())}
        guesses["mean image of the class"] = torch.stack([by_class.get(label, mean) for label in victims.y.tolist()])
        if _in_any_order(victims):
            generator = rng.torch_stream(target.seed, "inference guesses: auxiliary images")
            drawn = auxiliary.x[torch.randint(len(auxiliary.x), (len(victims),), generator=generator)]
            order = matched_by_update(drawn, victims.x, victims.batches)
            guesses["auxiliary images" + MATCHED] = drawn[order]
    return guesses


def _in_any_order(victims: Victims) -> bool:
    """Whether an update says nothing of which sample is which."""
    return Channel.UPDATES in victims.messages and several_in_one_update(victims.batches.tolist())


def _of_images(of: str, found: torch.Tensor, victims: Victims, target: Target) -> list[Score]:
    """Images as an adversary would save them: cut to the range of inputs, which is scaled to 1; and as anybody would look
    at them, each stretched to that range, since an image that is right but for its brightness tells everything."""
    span = target.high - target.low
    images = (found.clamp(target.low, target.high) - target.low) / span
    full, truth = stretched(images), (victims.x - target.low) / span
    scores = [
        Score(of, "MSE", float(mse(images, truth).mean())),
        Score(of, "PSNR, dB", float(psnr(images, truth).mean())),
        Score(of, "SSIM", float(ssim(images, truth).mean())),
        Score(of, "MSE, stretched", float(mse(full, truth).mean())),
    ]
    if target.auxiliary is not None:
        others = (target.auxiliary.x - target.low) / span
        for metric, shown in (("identified", images), ("identified, stretched", full)):
            scores.append(Score(of, metric, float(identified(shown, truth, others).double().mean())))
    return scores


def _of_labels(
    name: str,
    found: Reconstruction,
    guesses: Mapping[str, torch.Tensor],
    truth: torch.Tensor,
    left: torch.Tensor,
    target: Target,
) -> list[Score]:
    """Labels as they are named, and under the best naming of all."""
    assert found.labels is not None
    generator = rng.torch_stream(target.seed, "inference guesses: labels")
    tried = {
        name: found.labels,
        **guesses,
        "the commonest label": truth.bincount(minlength=target.classes).argmax().expand_as(truth),
        "dice": torch.randint(target.classes, truth.shape, generator=generator),
    }
    scores = []
    for of, labels in tried.items():
        if of != name or not found.labels_up_to_permutation:
            scores.append(Score(of, "labels right", label_accuracy(labels[left], truth[left])))
        scores.append(
            Score(of, "labels right, best naming", permuted_accuracy(labels[left], truth[left], target.classes))
        )
    return scores


def _of_two_classes(
    name: str,
    found: Reconstruction,
    positive_scores: torch.Tensor,
    victims: Victims,
    left: torch.Tensor,
    target: Target,
) -> list[Score]:
    """Leak AUC over all samples, and its median over batches in which both classes were."""
    positive = victims.y == found.positive_class
    if not positive[left].any() or positive[left].all():
        raise RunError(
            f"{name} tells class {found.positive_class} from the rest, but only one of the two was observed; attack more: "
            "--samples"
        )
    dice = torch.rand(len(left), generator=rng.torch_stream(target.seed, "inference guesses: dice"))
    scores = []
    for of, values in {name: positive_scores, "dice": dice}.items():
        scores.append(Score(of, "leak AUC", leak_auc(values[left], positive[left])))
        by_batch = []
        for batch in torch.unique(victims.batches).tolist():
            rows = left & (victims.batches == batch)
            if 0 < int(positive[rows].sum()) < int(rows.sum()):
                by_batch.append(leak_auc(values[rows], positive[rows]))
        if by_batch:
            scores.append(Score(of, "leak AUC, median batch", float(torch.tensor(by_batch).quantile(0.5))))
    return scores


def _of_membership(name: str, found: torch.Tensor, members: torch.Tensor, target: Target) -> list[Score]:
    """Rates that so many non-members cannot show are left out, and the rate without a false positive is given."""
    coin = torch.rand(len(members), generator=rng.torch_stream(target.seed, "inference guesses: coin"))
    rates = [rate for rate in RATES if rate * int((~members).sum()) >= 1]
    scores = []
    for of, values in {name: found, "a coin": coin}.items():
        scores.append(Score(of, "AUC", leak_auc(values, members)))
        for rate in rates:
            scores.append(Score(of, f"TPR at {100 * rate:g} % FPR", true_positives_at(values, members, rate)))
        if len(rates) < len(RATES):
            scores.append(Score(of, "TPR without a false positive", true_positives_at(values, members, 0.0)))
        scores.append(Score(of, "balanced accuracy, best threshold", balanced_accuracy(values, members)))
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
