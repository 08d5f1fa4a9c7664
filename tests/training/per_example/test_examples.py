"""Gradients of single samples against a loop that passes each sample alone through the network, in double precision."""

from __future__ import annotations

import weakref
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

from raysplit.defenses.privacy.rules import examples_of_client, examples_of_server
from raysplit.models.dropout import seed_dropout
from raysplit.models.keyed import key_layers
from raysplit.models.network import Portions
from raysplit.training.gradient_rules import BackwardPass
from raysplit.training.parties import ClientSlot, ModelSlot, ServerPass, ServerSlot
from raysplit.training.per_example import layers
from raysplit.training.per_example.examples import Examples
from raysplit.training.settings import Training

B = 5
TRAINING = Training(rounds=1, lr=0.1, batch_size=B)


class Lstm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 4, 2, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.lstm(x)[0][:, -1]


class Twice(nn.Module):
    """One layer that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(torch.tanh(self.layer(x)))


class Tied(nn.Module):
    """An embedding whose table also makes the output."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(self.table(x).mean(1), self.table.weight)


class Tokens(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.long()


IMAGE, SERIES, TEXT, FLAT = (3, 8, 8), (4, 9), (6,), (6,)
HEADS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], bool]] = {
    "linear": (lambda: nn.Linear(6, 4), FLAT, True),
    "linear without bias": (lambda: nn.Linear(6, 4, bias=False), FLAT, True),
    "linear over few positions": (lambda: nn.Linear(9, 40), SERIES, True),
    "linear over many positions": (lambda: nn.Sequential(nn.Unflatten(1, (4, 1)), nn.Linear(9, 1)), SERIES, True),
    "convolution": (lambda: nn.Conv2d(3, 4, 3), IMAGE, True),
    "convolution with stride, padding, dilation": (lambda: nn.Conv2d(3, 4, 3, 2, 1, 2), IMAGE, True),
    "oblong convolution": (lambda: nn.Conv2d(3, 4, (2, 3), (1, 2), (1, 0), bias=False), IMAGE, True),
    "grouped convolution": (lambda: nn.Conv2d(3, 6, 3, groups=3), IMAGE, True),
    "convolution of a series": (lambda: nn.Conv1d(4, 6, 3, 2, 1, 2, groups=2), SERIES, True),
    "convolution in circles": (lambda: nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), IMAGE, False),
    "embedding": (lambda: nn.Sequential(Tokens(), nn.Embedding(5, 3, padding_idx=2)), TEXT, True),
    "embedding by frequency": (lambda: nn.Sequential(Tokens(), nn.Embedding(5, 3, scale_grad_by_freq=False, max_norm=1.0)), TEXT, False),
    "group norm": (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.ReLU()), IMAGE, True),
    "layer norm": (lambda: nn.Sequential(nn.Linear(9, 8), nn.LayerNorm(8), nn.Tanh()), SERIES, True),
    "layer norm of whole samples": (lambda: nn.LayerNorm([4, 9]), SERIES, True),
    "a deep one": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.ReLU(), nn.Dropout(0.4), nn.Flatten(), nn.Linear(36, 5)),
        IMAGE,
        True,
    ),
    "part frozen": (lambda: nn.Sequential(nn.Linear(6, 6).requires_grad_(False), nn.Tanh(), nn.Linear(6, 4)), FLAT, True),
    "lstm": (Lstm, (7, 3), False),
    "twice used": (Twice, FLAT, False),
    "tied": (lambda: nn.Sequential(Tokens(), Tied()), TEXT, False),
    "scaled by prelu": (lambda: nn.Sequential(nn.Linear(6, 4), nn.Dropout(0.4), nn.PReLU()), FLAT, False),
}  # fmt: skip


def portion(module: nn.Module) -> nn.Sequential:
    network = nn.Sequential(module).double()
    seed_dropout(network)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def rows(examples: Examples, parameters: list[nn.Parameter]) -> list[list[torch.Tensor]]:
    """g_i of each parameter for each sample i: sums with weight 1 for it and 0 for all others."""
    examples.squared_norms()
    alone = torch.eye(B, dtype=torch.float64)
    return [examples.weighted_sums(alone[i][:, None].expand(B, len(parameters))) for i in range(B)]


def assert_equal(slot: ModelSlot, examples: Examples, expected: list[list[torch.Tensor]]) -> None:
    found = rows(examples, slot.flat.trainable)
    norms = examples.squared_norms()
    for i in range(B):
        for p, (one, other) in enumerate(zip(found[i], expected[i], strict=True)):
            assert one.shape == other.shape
            assert float((one - other).abs().max()) < 1e-12
            assert float(norms[i, p]) == pytest.approx(float(other.square().sum()), rel=1e-12, abs=1e-24)


def grad_of(loss: torch.Tensor, slot: ModelSlot) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss, slot.flat.trainable))


def sample(module: nn.Sequential, x: torch.Tensor, i: int) -> torch.Tensor:
    """Sample i's own output, [1, …], in a pass of its own but for the masks of dropout, which are drawn for a batch."""
    if any(type(layer).__name__ == "SeededDropout" for layer in module.modules()):
        key_layers([layer for layer in module.modules() if hasattr(layer, "set_key")], 1, 1, 1, 1)
        others = x.clone()
        others[[j for j in range(len(x)) if j != i]] = 0
        return module(others)[i : i + 1]
    return module(x[i : i + 1])


def inputs(shape: tuple[int, ...]) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(B, *shape, generator=generator, dtype=torch.float64) * 5
    return x.to(memory_format=torch.channels_last) if x.dim() == 4 else x


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("laid_out", [1 << 24, 150])
def test_a_head_s_gradients_of_single_samples_are_those_of_a_loop(
    kind: str, laid_out: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each layer that has a formula and, by one backward pass a sample, layers that have none; convolutions also where
    they are laid out in chunks."""
    monkeypatch.setattr(layers, "LAID_OUT", laid_out)
    torch.manual_seed(7)
    make, shape, formula = HEADS[kind]
    slot = ClientSlot(Portions(portion(make()), portion(nn.Identity())), TRAINING)
    slot.watch_layers()
    slot.begin(1, 1, 1, 1)
    x = inputs(shape)
    z = slot.forward(x)
    received = torch.randn(z.shape, dtype=z.dtype) / B

    examples = examples_of_client(slot, BackwardPass(x, torch.zeros(B), z, received))

    expected = [grad_of((sample(slot.head, x, i) * received[i] * B).sum(), slot) for i in range(B)]
    assert_equal(slot, examples, expected)
    assert slot.passes is not None and slot.passes.by_formulas[slot.head] is formula


@pytest.mark.parametrize("tail", [lambda: nn.Linear(4, 3), lambda: nn.Sequential(nn.Linear(4, 3), nn.PReLU())])
def test_head_and_tail_of_a_u_shape_are_one_gradient(tail: Callable[[], nn.Module]) -> None:
    """Whatever the server did in between: the loss is taken at the features that the client got."""
    torch.manual_seed(7)
    slot = ClientSlot(Portions(portion(nn.Conv2d(3, 2, 3)), portion(nn.Identity()), portion(tail())), TRAINING)
    slot.watch_layers()
    slot.begin(1, 1, 1, 1)
    x, features = inputs(IMAGE), torch.randn(B, 4, dtype=torch.float64)
    y = torch.tensor([0, 1, 2, 0, 1])
    z = slot.forward(x)
    slot.tail_pass(features, y)
    received = torch.randn(z.shape, dtype=z.dtype) / B

    examples = examples_of_client(slot, BackwardPass(x, y, z, received, features))

    assert slot.tail is not None
    expected = []
    for i in range(B):
        loss = functional.cross_entropy(slot.tail(features[i : i + 1]), y[i : i + 1])
        expected.append(grad_of(loss + (slot.head(x[i : i + 1]) * received[i] * B).sum(), slot))
    assert_equal(slot, examples, expected)


@pytest.mark.parametrize("end", [nn.Identity, nn.PReLU])
def test_a_whole_model_and_a_server_portion_have_each_sample_s_own_loss(end: Callable[[], nn.Module]) -> None:
    torch.manual_seed(7)
    x, y = inputs(IMAGE), torch.tensor([0, 1, 2, 0, 1])
    network = portion(nn.Sequential(nn.Conv2d(3, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(72, 3), end()))
    client = ClientSlot(Portions(network), TRAINING)
    client.watch_layers()
    loss = functional.cross_entropy(client.forward(x), y)
    expected = [grad_of(functional.cross_entropy(network(x[i : i + 1]), y[i : i + 1]), client) for i in range(B)]
    client.forward(x)
    loss = functional.cross_entropy(client.forward(x), y)
    assert_equal(client, examples_of_client(client, BackwardPass(x, y, loss)), expected)

    server = ServerSlot(Portions(portion(nn.Identity()), network), TRAINING)
    server.watch_layers()
    server.loss_pass(x, y)
    assert_equal(server, examples_of_server(server, ServerPass(x, y)), expected)


def test_a_u_shaped_server_has_each_sample_s_own_gradient() -> None:
    torch.manual_seed(7)
    body = portion(nn.Conv2d(3, 2, 3))
    server = ServerSlot(Portions(portion(nn.Identity()), body), TRAINING)
    server.watch_layers()
    z = inputs(IMAGE)
    features = server.forward(z)
    received = torch.randn(features.shape, dtype=z.dtype) / B
    server.backward(received)
    examples = examples_of_server(server, ServerPass(z, None, received))
    expected = [grad_of((body(z[i : i + 1]) * received[i] * B).sum(), server) for i in range(B)]
    assert_equal(server, examples, expected)


def test_nothing_of_a_batch_outlives_the_next() -> None:
    """Hooks hold no output, whose graph holds them: such a ring is never freed."""
    slot = ClientSlot(Portions(portion(nn.Conv2d(3, 2, 3)), portion(nn.Identity())), TRAINING)
    slot.watch_layers()
    assert slot.passes is not None
    z = slot.forward(inputs(IMAGE))
    examples_of_client(slot, BackwardPass(inputs(IMAGE), torch.zeros(B), z, torch.ones_like(z)))
    (one,) = slot.passes.of_batch(slot.head)
    output = weakref.ref(one.output)
    del one, z
    assert output() is not None
    slot.zero_grad()
    assert output() is None
