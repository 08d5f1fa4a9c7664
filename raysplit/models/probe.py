"""Two made-up samples pass through a network as it is built, to find what would break "same bits": layers that draw
from torch's global generator, that change what stays with a module, or that remember in their own way what a model slot
did before."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import nn

from raysplit.errors import ScenarioError, in_words
from raysplit.models.fixed import Fixed, fixed_tensors
from raysplit.models.keyed import key_layers, keyed_layers_in
from raysplit.models.unseeded import remedy

Outputs = list[tuple[torch.Tensor, ...]]
"""What each stage gives"""


def refuse_hidden_state(network: nn.Sequential, kind: str, input_shape: tuple[int, int, int]) -> None:
    """Raise ``ScenarioError`` where ``network``, which is called ``kind``, draws, changes or remembers, or cannot take
    its samples; else it is afterwards as it was."""
    for name, module in network.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.momentum is None:
            raise ScenarioError(
                f"{kind}'s {name!r} is BatchNorm(momentum=None), whose counter is not shared; give it a momentum"
            )
    keyed = keyed_layers_in([network])
    fixed, sums = Fixed([network]), _sums(network)
    buffers = [buffer.clone() for buffer in network.buffers()]

    def passed() -> Outputs:
        """One pass from the same state; the buffers of ``network`` are put back."""
        key_layers(keyed, 0, 0, 0, 0)
        outputs = _outputs(network, torch.ones(2, *input_shape))
        fixed.check()
        for buffer, kept in zip(network.buffers(), buffers, strict=True):
            buffer.copy_(kept)
        return outputs

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        before = torch.random.get_rng_state()
        try:
            first = passed()
            drew = not torch.random.get_rng_state().equal(before)
            if drew:
                name = _who_draws(network, torch.ones(2, *input_shape))
                raise ScenarioError(
                    f"{kind}'s {name!r} draws random numbers without a seeded stream; "
                    f"{remedy(network.get_submodule(name))}"
                )
            second = passed()
        except ScenarioError:
            raise
        except Exception as error:  # of a layer that may be the user's own
            raise ScenarioError(
                f"{kind} cannot take samples of shape {tuple(input_shape)}: {in_words(error)}"
            ) from error
    for layer in keyed:
        layer.set_key(None)
    _refuse_changed(kind, sums, _sums(network))
    for (name, _), one, other in zip(network.named_children(), first, second, strict=True):
        if not all(map(_alike, one, other)):
            raise ScenarioError(
                f"{kind}'s stage {name!r} remembers what passed before: the same samples give something else when they "
                "come again; keep what it remembers in a floating buffer, which travels with its portion"
            )


def _outputs(network: nn.Sequential, x: torch.Tensor) -> Outputs:
    outputs = []
    for stage in network:
        x = stage(x)
        parts = x if isinstance(x, tuple | list) else (x,)
        outputs.append(tuple(part.clone() for part in parts if torch.is_tensor(part)))
    return outputs


def _alike(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Equal but for the order of sums."""
    if one.shape != other.shape or not torch.is_floating_point(one):
        return torch.equal(one, other)
    return torch.allclose(one, other, rtol=1e-4, atol=1e-6, equal_nan=True)


def _sums(network: nn.Module) -> list[tuple[str, float]]:
    """Of what is frozen, by name: finds what is written past torch's count of changes."""
    return [(name, float(tensor.detach().sum(dtype=torch.float64))) for name, tensor in fixed_tensors(network)]


def _refuse_changed(kind: str, before: Iterable[tuple[str, float]], after: Iterable[tuple[str, float]]) -> None:
    for (name, one), (_, other) in zip(before, after, strict=True):
        if one != other and one == one:
            raise ScenarioError(
                f"{kind}'s {name!r} is frozen (requires_grad=False), but a forward pass changes it; frozen parameters "
                "do not travel with a portion, so make it a floating buffer, or leave it as it is"
            )


def _who_draws(network: nn.Sequential, x: torch.Tensor) -> str:
    """The innermost module that moves the global generator."""
    entered: dict[str, torch.Tensor] = {}
    found: list[str] = []

    def enter(name: str) -> Callable[..., None]:
        return lambda *_: entered.update({name: torch.random.get_rng_state()})

    def leave(name: str) -> Callable[..., None]:
        def look(*_: object) -> None:
            if not torch.random.get_rng_state().equal(entered[name]):
                found.append(name)

        return look

    hooks = []
    for name, module in network.named_modules():
        hooks += [module.register_forward_pre_hook(enter(name)), module.register_forward_hook(leave(name))]
    network(x)
    for hook in hooks:
        hook.remove()
    return found[0]
