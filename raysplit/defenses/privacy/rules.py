"""DP-SGD through the cut: how the parties' gradients come about where single samples are clipped and noise is added.

A client's loss is the mean over its batch, so row i of what it receives at the cut carries 1/B of sample i's own
gradient; it is multiplied by B, once. Head and tail of a U-shape are one client's: sample i's gradient of both is
clipped as one, and both step together after the tail's gradient has gone out and the cut gradients have come back.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from raysplit.defenses.privacy.noisy_sum import PrivateSum
from raysplit.training.gradient_rules import BackwardPass
from raysplit.training.optimizers import Gradients
from raysplit.training.parties import ClientSlot, ModelSlot, ServerPass, ServerSlot
from raysplit.training.per_example.examples import BatchPass, Examples, Joined, examples_of
from raysplit.training.per_example.layer_passes import LayerPasses


@dataclass(frozen=True)
class ClippedClient:
    """A client's gradient rule. Its slots watch their layers."""

    noisy_sum: PrivateSum

    def gradients(self, portion: ClientSlot, batch: BackwardPass) -> Gradients:
        return _gradients(self.noisy_sum, portion, _of_client(portion, batch), len(batch.y))


@dataclass(frozen=True)
class ClippedServer:
    """The main server's, for its own portion."""

    noisy_sum: PrivateSum

    def gradients(self, portion: ServerSlot, batch: ServerPass) -> Gradients:
        return _gradients(self.noisy_sum, portion, [_of_server(portion, batch)], len(batch.z))


def examples_of_client(portion: ClientSlot, batch: BackwardPass) -> Examples:
    """Gradients of single samples of a client portion that watches its layers, in the order of its parameters."""
    return _examples(portion, _of_client(portion, batch))


def examples_of_server(portion: ServerSlot, batch: ServerPass) -> Examples:
    """Those of a server portion."""
    return _examples(portion, [_of_server(portion, batch)])


def _gradients(noisy_sum: PrivateSum, portion: ModelSlot, batches: list[BatchPass], size: int) -> Gradients:
    parameters = portion.flat.trainable
    layers = [name.rpartition(".")[0] for name in portion.flat.names[: len(parameters)]]
    examples = _examples(portion, batches) if size and parameters else None
    return noisy_sum.of(examples, parameters, layers, size, portion.key)


def _examples(portion: ModelSlot, batches: list[BatchPass]) -> Examples:
    assert portion.passes is not None
    learning = [batch for batch in batches if any(p.requires_grad for p in batch.module.parameters())]
    return Joined([examples_of(batch, portion.passes) for batch in learning])


def _of_client(portion: ClientSlot, batch: BackwardPass) -> list[BatchPass]:
    """The head's pass and, U-shaped, the tail's, whose backward pass has been done."""
    size, received = len(batch.y), batch.received

    def back_through() -> None:
        assert portion.passes is not None
        _to_layers(batch.output, received, portion.head, portion.passes)

    def back(output: torch.Tensor) -> torch.Tensor:
        return _own_losses(output, batch.y) if received is None else received * size

    found = [BatchPass(portion.head, size, lambda: _again(portion, portion.head, batch.x), back, back_through)]
    tail, features = portion.tail, batch.features
    if tail is not None and features is not None:
        found.append(
            BatchPass(tail, size, lambda: _again(portion, tail, features), lambda output: _own_losses(output, batch.y))
        )
    return found


def _of_server(portion: ServerSlot, batch: ServerPass) -> BatchPass:
    y, received, size = batch.y, batch.received, len(batch.z)

    def back(output: torch.Tensor) -> torch.Tensor:
        if y is not None:
            return _own_losses(output, y)
        assert received is not None
        return received * size

    return BatchPass(portion.body, size, lambda: _again(portion, portion.body, batch.z), back)


def _again(portion: ModelSlot, module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The forward pass of the step under way once more, with the same masks of dropout."""
    portion.begin(*portion.key)
    output: torch.Tensor = module(x)
    return output


def _to_layers(output: torch.Tensor, received: torch.Tensor | None, module: nn.Module, passes: LayerPasses) -> None:
    """Take a gradient back as far as the layers' outputs, which note it; nothing is summed over the batch."""
    outputs = [one.output for one in passes.of_batch(module)]
    torch.autograd.grad(output, outputs, received)


def _own_losses(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The gradient of each sample's own cross-entropy at its logits, [B, classes]."""
    leaf = logits.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(functional.cross_entropy(leaf, y, reduction="sum"), leaf)
    return gradient
