"""How a scenario's flat portions map to the named tensors of its network: for checkpoints, digests, rules'
parameters."""

from __future__ import annotations

import torch

from raysplit.memory.global_state import GlobalState
from raysplit.models.flat import FlatPortion, digest
from raysplit.models.network import build, cut
from raysplit.models.pixels import FORMULAS
from raysplit.protocols.joint import joint
from raysplit.scenario.scenario import Scenario


class Layout:
    """How flat portions map to the named tensors of the network: for checkpoints, digests and rules' parameter
    boundary."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        model = joint(scenario.model, scenario.protocol)
        network = build(model, scenario.seed, scenario.training.dtype)
        split = scenario.protocol.server != "none"
        self.portions = cut(network, model, split, scenario.protocol.u_shaped)
        self.client = FlatPortion(self.portions.client)
        self.server = FlatPortion(self.portions.server)

    @property
    def about(self) -> dict[str, str]:
        """What the named tensors do not say of the model: what it takes, and how stored samples become that."""
        model, scenario = self._scenario.model, self._scenario
        return {
            "model": type(model).__name__,
            "input": f"[B, {', '.join(map(str, model.input_shape))}], {scenario.training.precision}",
            "pixels": scenario.pixels,
            "of_a_byte_b": FORMULAS[scenario.pixels],
        }

    def initial(self) -> GlobalState:
        """The untrained portions."""
        return GlobalState(0, self.client.vector.clone(), self.server.vector.clone())

    def named(self, state: GlobalState) -> dict[str, torch.Tensor]:
        """The whole model as ``state_dict`` names it, in whichever portion a tensor lives, with what is frozen."""
        fixed = {
            name: tensor.detach().contiguous() for name, tensor in {**self.client.fixed, **self.server.fixed}.items()
        }
        return {**fixed, **self.client.named_tensors(state.client), **self.server.named_tensors(state.server)}

    def digest(self, state: GlobalState) -> str:
        """The identity of the global model, and of clients' own portions: equal for equal bits, whatever the protocol's
        cut."""
        return digest({**self.named(state), **self.named_portions(state)})

    def named_portions(self, state: GlobalState) -> dict[str, torch.Tensor]:
        """The portions that clients keep, as ``"17/conv1.weight"``: client id, then the network's own name."""
        return {
            f"{client}/{name}": tensor
            for client, portion in state.client_portions.items()
            for name, tensor in self.client.named_tensors(portion).items()
        }

    def portions_from(self, tensors: dict[str, torch.Tensor]) -> dict[int, torch.Tensor]:
        """The inverse of ``named_portions``; raises ``KeyError`` or ``ValueError`` for tensors of another model."""
        named: dict[int, dict[str, torch.Tensor]] = {}
        for full, tensor in tensors.items():
            client, _, name = full.partition("/")
            named.setdefault(int(client), {})[name] = tensor
        return {client: self.client.from_named(named[client]) for client in sorted(named)}
