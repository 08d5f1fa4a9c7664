"""Whether a scenario's network can be trained as it is cut, and whether what is frozen leaves its attack and its rules
anything to act on: found by playing one step of two made-up samples, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn import functional

from raysplit.aggregation.rules.mean import Mean
from raysplit.attacks.scheduled import singles
from raysplit.channels.channel import Channel
from raysplit.errors import ScenarioError, first_line, in_words
from raysplit.models.fixed import learns
from raysplit.models.keyed import key_layers, keyed_layers_in
from raysplit.protocols.joint import TaskBodies, first_cut
from raysplit.protocols.learners import unanswered
from raysplit.scenario.layout import Layout
from raysplit.scenario.scenario import Scenario
from raysplit.threads import one_thread

Parties = Sequence[nn.Sequential]
"""What a sample passes, party by party"""
SAMPLES = 2


@one_thread()
def check_network(scenario: Scenario, layout: Layout) -> None:
    """Raise ``ScenarioError`` for a network that cannot be trained where it is cut; else it is as before."""
    portions = layout.portions
    if not learns([*portions.client, *portions.server]):
        raise ScenarioError(
            f"all parameters of {type(scenario.model).__name__} are frozen (requires_grad=False), so there is nothing "
            "to train; leave some free"
        )
    _check_channels(scenario, layout)
    with _as_it_was([*portions.client, *portions.server]):
        for parties in _chains(scenario, layout):
            _Trial(scenario, parties).play()


@one_thread()
def refuses_one_sample(scenario: Scenario, layout: Layout) -> str | None:
    """The first stage that cannot train on a batch of one sample, as BatchNorm cannot where it has one value a channel;
    None: all can."""
    with _as_it_was([*layout.portions.client, *layout.portions.server]), torch.no_grad():
        z = torch.ones(1, *scenario.model.input_shape, dtype=scenario.training.dtype)
        for party in layout.portions.in_order:
            for name, stage in party.named_children():
                try:
                    z = stage(z)
                except Exception:  # of a layer that took two samples
                    return name
    return None


@contextmanager
def _as_it_was(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Passes are played within, after which buffers, dropout and torch's generator are as before."""
    keyed = keyed_layers_in(modules)
    key_layers(keyed, 0, 0, 0, 0)
    buffers = [(buffer, buffer.clone()) for module in modules for buffer in module.buffers()]
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        for buffer, kept in buffers:
            buffer.copy_(kept)
        for layer in keyed:
            layer.set_key(None)


def _chains(scenario: Scenario, layout: Layout) -> Iterator[Parties]:
    """The ways that a sample takes through the parties: one, or one a task."""
    portions, topology = layout.portions, scenario.protocol.topology
    match topology.kind:
        case "pair" | "vertical":
            yield portions.in_order
        case "extended":
            first = first_cut(scenario.model)
            yield [portions.head[:first], portions.head[first:], *portions.server]
        case "multi_task":
            assert portions.body is not None
            bodies = portions.body[0]
            assert isinstance(bodies, TaskBodies)
            for body in bodies.bodies:
                assert isinstance(body, nn.Sequential)
                yield [portions.head, body]


class _Trial:
    """One step of two samples: forward through every party on a leaf of its own, and back."""

    def __init__(self, scenario: Scenario, parties: Parties) -> None:
        self._scenario, self._parties = scenario, parties
        self._kind = type(scenario.model).__name__

    def play(self) -> None:
        """Raise ``ScenarioError`` for the first thing that does not work."""
        z = torch.ones(SAMPLES, *self._scenario.model.input_shape, dtype=self._scenario.training.dtype)
        leaves, outputs = [], []
        for number, party in enumerate(self._parties):
            leaf = z.detach().clone().requires_grad_(number > 0)
            leaves.append(leaf)
            outputs.append(self._forward(party, leaf, behind_a_cut=number > 0))
            z = outputs[-1]
        self._check_logits(z)
        self._backward(leaves, outputs)

    def _forward(self, party: nn.Sequential, leaf: torch.Tensor, behind_a_cut: bool) -> torch.Tensor:
        z = leaf
        name = ""
        for name, stage in party.named_children():
            try:
                z = stage(z)
            except Exception as error:  # of a layer that may be the user's own
                if behind_a_cut and _writes(party, leaf):
                    raise ScenarioError(
                        f"{self._kind}'s stage {name!r} writes into its input, which behind a cut is what another "
                        "party sent; write x = x + 1 for x += 1, and leave inplace=True out"
                    ) from error
                raise ScenarioError(f"{self._kind}'s stage {name!r} cannot be trained: {in_words(error)}") from error
        if not torch.is_tensor(z):
            last = party is self._parties[-1]
            raise ScenarioError(
                f"{self._kind}'s stage {name!r} gives a {type(z).__name__}, but "
                f"{'the last stage gives one tensor, the logits' if last else 'one tensor crosses a cut'}; return one "
                f"tensor{'' if last else ', such as torch.cat of them, or cut elsewhere'}"
            )
        return z

    def _check_logits(self, logits: torch.Tensor) -> None:
        classes = self._scenario.model.classes
        if logits.dim() != 2 or len(logits) != SAMPLES or logits.shape[1] < classes:
            raise ScenarioError(
                f"{self._kind} tells {classes} classes apart, but its last stage gives {list(logits.shape[1:])} "
                f"numbers a sample, not [{classes}]"
            )

    def _backward(self, leaves: list[torch.Tensor], outputs: list[torch.Tensor]) -> None:
        """Gradients reach every party that has something to learn, and so pass whoever stands behind it."""
        last = len(outputs) - 1
        loss = functional.cross_entropy(outputs[-1], torch.zeros(SAMPLES, dtype=torch.int64))
        received: torch.Tensor | None = None
        for number in range(last, -1, -1):
            party, output = self._parties[number], loss if number == last else outputs[number]
            free = [parameter for parameter in party.parameters() if parameter.requires_grad]
            before = learns(self._parties[:number])
            if not free and not before:
                return
            names = list(party._modules)
            stages = " to ".join(dict.fromkeys((names[0], names[-1]))) if names else "empty tail"
            wanted = free + [leaves[number]] * (number > 0)
            try:
                found = torch.autograd.grad(output, wanted, received, allow_unused=True) if output.requires_grad else ()
            except RuntimeError as error:
                raise ScenarioError(f"{self._kind}'s {stages} cannot be trained: {first_line(error)}") from error
            if free and all(gradient is None for gradient in found[: len(free)]):
                raise ScenarioError(
                    f"{self._kind}'s {stages} is to be trained, but no gradient reaches its parameters "
                    "(torch.no_grad() or detach()); let gradients through, or freeze them with requires_grad_(False)"
                )
            received = found[-1] if number > 0 and found else None
            if received is None and before:
                raise ScenarioError(
                    f"{self._kind}'s {stages} lets no gradient through to the stages before it, which are to "
                    "be trained (torch.no_grad() or detach()); freeze parameters with requires_grad_(False) instead"
                )
            if received is None:
                return


def _writes(party: nn.Sequential, leaf: torch.Tensor) -> bool:
    """Whether a party changes its input in place."""
    z = leaf.detach().clone()
    before = z._version
    with torch.no_grad():
        x = z
        for stage in party:
            try:
                x = stage(x)
            except Exception:  # it may have written before
                break
    return z._version != before


def _check_channels(scenario: Scenario, layout: Layout) -> None:
    """Raise ``ScenarioError`` where an attack or a rule acts on what frozen portions do not send."""
    kind = type(scenario.model).__name__
    silent = set(unanswered(layout.portions, scenario.model, scenario.protocol.topology))
    rules = {Channel.UPDATES: scenario.defense, Channel.SERVER_UPDATES: scenario.server_defense}
    for channel, flat in ((Channel.UPDATES, layout.client), (Channel.SERVER_UPDATES, layout.server)):
        if channel not in scenario.protocol.channels or flat.parameters:
            continue
        silent.add(channel)
        if not isinstance(rules[channel], Mean):
            raise ScenarioError(
                f"{type(rules[channel]).__name__} acts on {channel.value}, but all parameters of {kind} that they "
                "would bring are frozen; leave the rule out"
            )
        if scenario.record_updates_every is not None:
            raise ScenarioError(
                f"Scenario.record_updates_every keeps {channel.value}, but all parameters of {kind} that they would "
                "bring are frozen; leave it out"
            )
    for single in singles(scenario.attack):
        for channel in sorted((single.threat_model.changes | single.threat_model.sees) & silent):
            raise ScenarioError(
                f"{type(single).__name__}'s threat model names the channel '{channel.value}', over which nothing goes, "
                f"because the parameters of {kind} that it would serve are frozen; leave the attack out, or free them"
            )
