"""Model extraction by a malicious client: a surrogate of the server portion, from the cut gradients that came back."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from raysplit.attacks.inference.adversary import Fact
from raysplit.attacks.inference.inference_attack import Goal, InferenceAttack, Knowledge, Observed, Reconstruction
from raysplit.channels.channel import Channel
from raysplit.errors import ScenarioError
from raysplit.parts.part import part
from raysplit.protocols.requirements import Requirement, labels_at_server


@part
class ModelExtraction(InferenceAttack):
    """s, z → logits, in place of the server portion; z_i, y_i are the client's own smashed data and labels, G_iy =
    ∂CE(server(z_i), y)/∂z_i what the server answers.

    ``form="gradient_matching"``: s ← argmin mean ‖∂CE(s(z_i), y)/∂z_i − G_iy‖² / γ + w·mean CE(s(z_i), y_i), γ the
    mean of ‖G_iy‖² over all pairs and w ``own_data_weight``. ``labels="sent"``: y = y_i, whose gradients come back anyway. ``"all"``:
    every z_i is sent again with each of the other labels, n(C − 1) queries, so that the differences are the rows of the
    logits' Jacobian; a trained model says little of y_i alone, where its gradient is all but 0.
    ``form="own_data"``: CE alone, what the client could do without any answer: the baseline that extraction must beat.

    A server portion that is one dense layer is found up to what no gradient shows: a row added to all rows of the
    weights, a number added to all biases, neither of which moves a probability.

    ``surrogate="same"``: the server portion's own layers with fresh weights, which the client must be told.
    ``"perceptron"``: two dense layers, ``width`` between them. ``steps`` of Adam from ``lr``, which falls as a half
    cosine to 0, on batches of ``batch_size`` pairs (i, y). Layers are in evaluation mode.

    Source: Li et al. 2023, "Model extraction attacks on split federated learning" (arXiv 2303.08581): gradient matching
    and the training on own data; its public code keeps whichever state of s did best on test data, which is not done here.
    """

    form: Literal["gradient_matching", "own_data"] = "gradient_matching"
    labels: Literal["all", "sent"] = "all"
    own_data_weight: float = 1.0
    surrogate: Literal["same", "perceptron"] = "same"
    width: int = 128
    steps: int = 1000
    lr: float = 1e-3
    batch_size: int = 64
    goal: Goal = "server_portion"

    def __post_init__(self) -> None:
        if min(self.steps, self.batch_size, self.width) < 1 or self.lr <= 0 or self.own_data_weight < 0:
            raise ScenarioError(
                "ModelExtraction takes steps, batch_size and width from 1, lr above 0 and own_data_weight from 0, but "
                f"they are {self.steps}, {self.batch_size}, {self.width}, {self.lr} and {self.own_data_weight}"
            )

    @property
    def reads(self) -> frozenset[Channel]:
        return frozenset({Channel.SMASHED} if self.form == "own_data" else {Channel.SMASHED, Channel.CUT_GRADIENTS})

    @property
    def reads_labels(self) -> bool:
        return True

    @property
    def needs(self) -> frozenset[Fact]:
        layers: set[Fact] = {"server_architecture"} if self.surrogate == "same" else set()
        asks = self.form == "gradient_matching" and self.labels == "all"
        return frozenset(layers | {"server_queries"} if asks else layers)

    @property
    def requires(self) -> Iterator[Requirement]:
        yield labels_at_server(
            "{component} goes by the cut gradients of labels that the client sends, but in a U-shaped {protocol} the "
            "client has the last layers and sees what the server portion makes of its smashed data; use another protocol"
        )

    def infer(self, observed: Observed, knowledge: Knowledge) -> Reconstruction:
        z, y = observed.on(Channel.SMASHED), observed.labels()
        surrogate = self._fresh(z, knowledge)
        rows, gradients = torch.arange(len(y)), None
        if self.form == "gradient_matching":
            sizes = observed.batch_sizes.view(-1, *(1,) * (z.dim() - 1))
            gradients = observed.on(Channel.CUT_GRADIENTS) * sizes
            if self.labels == "all":
                rows, asked = _other_labels(y, knowledge.classes)
                gradients = torch.cat([gradients, knowledge.ask_server(z[rows], asked)])
                rows, y = torch.cat([torch.arange(len(y)), rows]), torch.cat([y, asked])
        self._train(surrogate, (z, observed.labels()), (rows, y, gradients), knowledge.generator("batches"))
        return Reconstruction(surrogate=surrogate, queries=knowledge.queries)

    def _fresh(self, z: torch.Tensor, knowledge: Knowledge) -> nn.Module:
        if self.surrogate == "same":
            return knowledge.untrained_server_portion()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(1 << 62, (), generator=knowledge.generator("surrogate"))))
            first, last = nn.Linear(z[0].numel(), self.width), nn.Linear(self.width, knowledge.classes)
        return nn.Sequential(nn.Flatten(), first, nn.ReLU(), last).to(z.dtype)

    def _train(
        self,
        surrogate: nn.Module,
        own: tuple[torch.Tensor, torch.Tensor],
        pairs: tuple[torch.Tensor, torch.Tensor, torch.Tensor | None],
        draw: torch.Generator,
    ) -> None:
        """``own``: z and y of the client's samples. ``pairs``: of which sample, with which label, and what came back."""
        (z, true), (rows, y, gradients) = own, pairs
        parameters = [parameter for parameter in surrogate.parameters() if parameter.requires_grad]
        optimizer = torch.optim.Adam(parameters, lr=self.lr)
        scale = None if gradients is None else gradients.square().flatten(1).sum(1).mean()
        for step in range(self.steps):
            optimizer.param_groups[0]["lr"] = self.lr * (1 + math.cos(math.pi * step / self.steps)) / 2
            some = torch.randint(len(y), (min(self.batch_size, len(y)),), generator=draw)
            leaf = z[rows[some]].detach().requires_grad_(gradients is not None)
            logits = surrogate(leaf)
            loss = functional.cross_entropy(logits, true[rows[some]])
            if gradients is not None and scale:
                mismatch = gradient_mismatch(logits, leaf, y[some], gradients[some]) / scale
                loss = mismatch + self.own_data_weight * loss
            for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                parameter.grad = gradient
            optimizer.step()


def gradient_mismatch(logits: torch.Tensor, z: torch.Tensor, y: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """Mean over rows of ‖∂CE(logits, y)/∂z − seen‖²; ``logits`` [b, classes] were made of ``z`` [b, …], and the graph goes on
    to what made them."""
    loss = functional.cross_entropy(logits, y, reduction="sum")
    (found,) = torch.autograd.grad(loss, [z], create_graph=True)
    return (found - seen).square().sum() / len(y)


def _other_labels(y: torch.Tensor, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Every label but the true one of each of n samples: int64 [n·(classes − 1)] samples and labels."""
    others = torch.arange(classes).expand(len(y), classes)
    asked = others != y[:, None]
    return torch.nonzero(asked)[:, 0], others[asked]
