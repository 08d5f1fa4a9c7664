"""What an adversary that learns keeps from round to round: its networks and their optimisers as one state."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from raysplit.memory.memory import State


def learned_state(network: nn.Module, optimizers: Mapping[str, torch.optim.Adam]) -> State:
    """Copies of all that a network and its optimisers hold: ``net/<name>`` and ``adam/<kind>/<index>/<name>``."""
    kept: State = {f"net/{name}": tensor.detach().clone() for name, tensor in network.state_dict().items()}
    for kind, optimizer in optimizers.items():
        for index, parameter in enumerate(optimizer.param_groups[0]["params"]):
            for name, tensor in optimizer.state[parameter].items():
                kept[f"adam/{kind}/{index}/{name}"] = tensor.detach().clone()
    return kept


def restore(network: nn.Module, optimizers: Mapping[str, torch.optim.Adam], learned: State) -> None:
    """Put ``learned_state`` back. ``learned`` stays as it is; an optimiser that had taken no step begins anew."""
    network.load_state_dict({name[4:]: tensor for name, tensor in learned.items() if name.startswith("net/")})
    for kind, optimizer in optimizers.items():
        for index, parameter in enumerate(optimizer.param_groups[0]["params"]):
            if f"adam/{kind}/{index}/step" in learned:
                names = (f"adam/{kind}/{index}/{name}" for name in ("step", "exp_avg", "exp_avg_sq"))
                step, first, second = (learned[name].clone() for name in names)
                first, second = first.to(parameter), second.to(parameter)
                optimizer.state[parameter] = {"step": step, "exp_avg": first, "exp_avg_sq": second}
