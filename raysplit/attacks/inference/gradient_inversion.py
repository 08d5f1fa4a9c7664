"""Gradient inversion at the fed server: DLG, iDLG and Geiping et al., samples whose update is the one that came."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch.func import functional_call
from torch.nn import functional

from raysplit.attacks.inference.adversary import Fact
from raysplit.attacks.inference.inference_attack import Goal, InferenceAttack, Knowledge, Observed, Reconstruction
from raysplit.attacks.inference.inversion import ImagePrior
from raysplit.channels.channel import Channel
from raysplit.errors import ScenarioError
from raysplit.parts.part import part
from raysplit.protocols.requirements import Requirement

Distance = Literal["cosine", "squared"]
Labels = Literal["inferred", "known", "joint"]
Descent = Literal["signed_adam", "adam", "lbfgs"]
_DECAYS = (3 / 8, 5 / 8, 7 / 8)


@part
class GradientInversion(InferenceAttack):
    """x ← argmin distance(u(x), u) + prior(x), u = (W − W_k)/lr what client k's steps took off W, which for one step is
    its gradient, and u(x) the same of made-up samples x, starting from N(0, 1).

    ``distance``: ``"cosine"``, 1 − ⟨u(x), u⟩/(‖u(x)‖·‖u‖) (Geiping et al.), or ``"squared"``, ‖u(x) − u‖² (DLG).
    ``labels``: ``"inferred"`` from the last layer's bias gradient, or the row sums of its weight's (iDLG; of n samples n
    times the lowest entry, to which 1/n is then added); ``"known"``; or ``"joint"``, softmax of numbers that are
    optimised with x (DLG). ``optimizer``: ``"signed_adam"``, Adam on the sign of the gradient, its rate divided by ten
    after 3/8, 5/8 and 7/8 of the steps, ``"adam"``, or ``"lbfgs"``, whose every step is one of 20 evaluations. ``boxed``:
    x is cut to the range of inputs after every step. Of ``restarts`` the one with the smallest loss counts.

    **Several local steps** are unrolled, plain SGD on the true batch sizes; that every epoch cuts the samples into the
    same batches is assumed. **In SplitFed** the update is of the client portion only, and its gradient comes through the
    server portion: a fed server alone cannot do this. With the main server's weights, as they were before the round, one
    local step can be matched (exactly for the first client at a shared server portion, nearly for later ones), several
    cannot, because the server portion moves between them. Labels are then the main server's to know, unless U-shaped.
    Dropout is left out.

    Sources: Zhu, Liu, Han, NeurIPS 2019 (DLG); Zhao, Mopuri, Bilen 2020 (iDLG); Geiping et al., NeurIPS 2020.
    """

    distance: Distance = "cosine"
    labels: Labels = "inferred"
    optimizer: Descent = "signed_adam"
    steps: int = 1000
    lr: float = 0.1
    prior: ImagePrior = ImagePrior(variation=1e-4, form="absolute")
    boxed: bool = True
    restarts: int = 1
    goal: Goal = "inputs"

    def __post_init__(self) -> None:
        if min(self.steps, self.restarts) < 1 or self.lr <= 0:
            raise ScenarioError(
                f"GradientInversion takes steps and restarts from 1 and lr above 0, but they are {self.steps}, "
                f"{self.restarts} and {self.lr}"
            )

    @staticmethod
    def dlg(steps: int = 300, restarts: int = 1) -> GradientInversion:
        """Zhu et al. 2019: squared distance, labels optimised too, LBFGS at 1, no prior."""
        return GradientInversion("squared", "joint", "lbfgs", steps, 1.0, ImagePrior(0.0), False, restarts)

    @staticmethod
    def idlg(steps: int = 300, restarts: int = 1) -> GradientInversion:
        """Zhao et al. 2020: DLG with the label read off the last layer."""
        return GradientInversion("squared", "inferred", "lbfgs", steps, 1.0, ImagePrior(0.0), False, restarts)

    @staticmethod
    def geiping(steps: int = 4800, restarts: int = 1) -> GradientInversion:
        """Geiping et al. 2020: cosine, total variation, signed Adam at 0.1, cut to the range."""
        return GradientInversion(steps=steps, restarts=restarts)

    @property
    def reads(self) -> frozenset[Channel]:
        return frozenset({Channel.UPDATES})

    @property
    def needs(self) -> frozenset[Fact]:
        known: set[Fact] = {"client_weights", "server_weights", "training_settings"}
        return frozenset(known | {"known_labels"} if self.labels == "known" else known)

    @property
    def requires(self) -> Iterator[Requirement]:
        yield Requirement(
            lambda setting: setting.protocol.server_step != "mean_gradients",
            "{component} needs updates that come of a client's own gradients, but {protocol} answers all clients with "
            "their mean; attack another protocol",
        )
        if self.labels == "inferred":
            yield Requirement(
                lambda setting: setting.protocol.server == "none" or setting.protocol.u_shaped,
                "{component} reads labels off the last layer, which is no part of a client's update in {protocol}; give "
                "labels='known' or labels='joint'",
            )

    def infer(self, observed: Observed, knowledge: Knowledge) -> Reconstruction:
        updates = observed.on(Channel.UPDATES)
        _check_training(knowledge, len(updates))
        told = _known(knowledge, len(observed)) if self.labels == "known" else None
        draw, inputs, labels = knowledge.generator("start"), [], []
        for number, update in enumerate(updates):
            rows = observed.batches == number
            match = _match(self, knowledge, update, number)
            y = told[rows] if told is not None else None
            if self.labels == "inferred":
                y = inferred_labels(match.observed, int(rows.sum()))
            tried = [_invert(self, knowledge, match, int(rows.sum()), y, draw) for _ in range(self.restarts)]
            _, x, y = min(tried, key=lambda one: one[0])
            inputs.append(x)
            labels.append(y)
        return Reconstruction(torch.cat(inputs), None if self.labels == "known" else torch.cat(labels))


def _check_training(knowledge: Knowledge, updates: int) -> None:
    training = knowledge.local_training()
    if not training.plain_sgd:
        raise ScenarioError(
            "GradientInversion unrolls plain SGD, but clients train with another optimiser, momentum or weight decay; "
            "attack a scenario with Training.optimizer=Sgd()"
        )
    if training.lr == 0:
        raise ScenarioError("GradientInversion divides by the learning rate, but it is 0 there; choose another round")
    steps = max(training.steps(number) for number in range(updates))
    if training.beside_server and steps > 1:
        raise ScenarioError(
            f"GradientInversion unrolls the steps of clients that have the whole model, but a client here took {steps} "
            "steps beside a server portion that moved at each; attack a scenario with one local step "
            "(Training.batch_size=None, local_epochs=1)"
        )


def _known(knowledge: Knowledge, n: int) -> torch.Tensor:
    y = torch.empty(n, dtype=torch.int64)
    for label, rows in knowledge.known_labels(n).items():
        y[rows] = label
    return y


def inferred_labels(gradient: dict[str, torch.Tensor], count: int) -> torch.Tensor:
    """The labels [count] of the samples behind a gradient of the whole model, by parameter name, ascending.

    By class the gradient of the last bias is mean(p) − n_c/n; where there is no bias, the row sums of the last weight's
    have its sign behind a ReLU. The lowest entry names a label and gets 1/n back, n times.
    """
    last = list(gradient.values())[-1]
    by_class = (last if last.dim() == 1 else last.flatten(1).sum(1)).clone()
    if last.dim() > 1:
        by_class = by_class / by_class.abs().sum().clamp_min(1e-30)
    found = []
    for _ in range(count):
        label = int(by_class.argmin())
        by_class[label] += 1 / count
        found.append(label)
    return torch.tensor(sorted(found))


@dataclass(frozen=True)
class _Match:
    """``observed``: u by parameter name; ``made``: the same of samples and label distributions."""

    observed: dict[str, torch.Tensor]
    made: Callable[[torch.Tensor, torch.Tensor], dict[str, torch.Tensor]]


def _match(attack: GradientInversion, knowledge: Knowledge, update: torch.Tensor, number: int) -> _Match:
    training, head = knowledge.local_training(), knowledge.client_portion()
    tail = knowledge.client_tail() if knowledge.u_shaped else None
    observed = {name: -tensor / training.lr for name, tensor in knowledge.named_update(update).items()}
    weights = {name: p for module in (head, tail) if module is not None for name, p in module.named_parameters()}
    of_head = {name for name, _ in head.named_parameters()}
    start = {name: weights[name].detach().clone().requires_grad_() for name in observed}

    def logits(x: torch.Tensor, portion: dict[str, torch.Tensor]) -> torch.Tensor:
        z = functional_call(head, {name: w for name, w in portion.items() if name in of_head}, (x,))
        if tail is None:
            return knowledge.finish(z)
        of_tail = {name: w for name, w in portion.items() if name not in of_head}
        out: torch.Tensor = functional_call(tail, of_tail, (knowledge.features(z),))
        return out

    def made(x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
        portion, taken = start, {name: torch.zeros_like(w) for name, w in start.items()}
        for _ in range(training.epochs):
            for rows in torch.split(torch.arange(len(x)), list(training.batches[number])):
                loss = functional.cross_entropy(logits(x[rows], portion), y[rows])
                gradients = torch.autograd.grad(loss, list(portion.values()), create_graph=True)
                taken = {name: taken[name] + g for name, g in zip(portion, gradients, strict=True)}
                portion = {name: w - training.lr * g for (name, w), g in zip(portion.items(), gradients, strict=True)}
        return taken

    return _Match(observed, made)


def distance_of(kind: Distance, made: dict[str, torch.Tensor], observed: dict[str, torch.Tensor]) -> torch.Tensor:
    """Of two sets of tensors, as one vector each; formulas in ``GradientInversion``."""
    if kind == "squared":
        return torch.stack([(made[name] - tensor).square().sum() for name, tensor in observed.items()]).sum()
    inner = torch.stack([(made[name] * tensor).sum() for name, tensor in observed.items()]).sum()
    of_made = torch.stack([made[name].square().sum() for name in observed]).sum().sqrt()
    of_observed = torch.stack([tensor.square().sum() for tensor in observed.values()]).sum().sqrt()
    return 1 - inner / (of_made * of_observed).clamp_min(1e-30)


def _invert(
    attack: GradientInversion,
    knowledge: Knowledge,
    match: _Match,
    count: int,
    labels: torch.Tensor | None,
    draw: torch.Generator,
) -> tuple[float, torch.Tensor, torch.Tensor]:
    """The loss, inputs and labels of one start."""
    dtype = next(iter(match.observed.values())).dtype
    x = torch.randn((count, *knowledge.input_shape), generator=draw, dtype=dtype).requires_grad_()
    moved = [x]
    if labels is None:
        moved.append(torch.randn((count, knowledge.classes), generator=draw, dtype=dtype).requires_grad_())

    def distribution() -> torch.Tensor:
        if labels is None:
            return moved[1].softmax(1)
        return functional.one_hot(labels, knowledge.classes).to(dtype)

    def loss() -> torch.Tensor:
        found = distance_of(attack.distance, match.made(x, distribution()), match.observed)
        return found + attack.prior(x).mean()

    _descend(attack, moved, loss, knowledge.range)
    return float(loss().detach()), x.detach(), distribution().argmax(1)


def _descend(
    attack: GradientInversion,
    moved: list[torch.Tensor],
    loss: Callable[[], torch.Tensor],
    span: tuple[float, float],
) -> None:
    """``attack.steps`` of its optimiser on ``moved``, the first of which are inputs."""
    optimizer = _optimizer(attack, moved)

    def evaluate() -> float:
        value = loss()
        for tensor, gradient in zip(moved, torch.autograd.grad(value, moved), strict=True):
            tensor.grad = gradient.sign() if attack.optimizer == "signed_adam" else gradient
        return float(value.detach())

    for step in range(attack.steps):
        if attack.optimizer == "signed_adam":
            optimizer.param_groups[0]["lr"] = attack.lr * 0.1 ** sum(step >= share * attack.steps for share in _DECAYS)
        optimizer.step(evaluate)
        if attack.boxed:
            with torch.no_grad():
                moved[0].clamp_(*span)


def _optimizer(attack: GradientInversion, moved: list[torch.Tensor]) -> torch.optim.Optimizer:
    if attack.optimizer == "lbfgs":
        return torch.optim.LBFGS(moved, lr=attack.lr)
    return torch.optim.Adam(moved, lr=attack.lr)
