"""The target of an attack: the trained portions of a run's state, as modules."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn

from raysplit import rng
from raysplit.attacks.inference.adversary import Fact
from raysplit.attacks.inference.local_training import LocalTraining
from raysplit.attacks.inference.target import (
    Auxiliary,
    LearnedInTraining,
    ObservedUpdates,
    Target,
    TrainedGenerator,
    UShape,
)
from raysplit.attacks.messages.hijacking import Hijacking
from raysplit.attacks.messages.hook_attack import path_of
from raysplit.attacks.scheduled import singles
from raysplit.attacks.steps import step_attack
from raysplit.attacks.steps.gan import GanAttack, generator_of
from raysplit.defenses.messages.message_defense import of_smashed
from raysplit.defenses.messages.smashed import SmashedInUse
from raysplit.memory.global_state import GlobalState
from raysplit.memory.memory import by_client
from raysplit.models.flat import FlatPortion
from raysplit.models.network import Portions, build, cut
from raysplit.models.pixels import RANGES
from raysplit.protocols.joint import joint
from raysplit.scenario.scenario import Scenario


def portions_of(scenario: Scenario, seed: int) -> Portions:
    """The scenario's network, initialised from ``seed`` and cut, as its maker left it."""
    model = joint(scenario.model, scenario.protocol)
    network = build(model, seed, scenario.training.dtype)
    return cut(network, model, scenario.protocol.server != "none", scenario.protocol.u_shaped)


def untrained_portion(scenario: Scenario, index: int) -> nn.Module:
    """The head of a network with fresh random weights, number ``index``."""
    return portions_of(scenario, rng.key(scenario.seed, "inference untrained portion", index) >> 65).head.eval()


def untrained_tail(scenario: Scenario, index: int) -> nn.Module:
    """U-shaped: the tail of the network whose head is untrained portion number ``index``."""
    tail = portions_of(scenario, rng.key(scenario.seed, "inference untrained portion", index) >> 65).tail
    assert tail is not None
    return tail.eval()


def untrained_model(scenario: Scenario, index: int) -> nn.Module:
    """A whole network with fresh random weights, number ``index``."""
    portions = portions_of(scenario, rng.key(scenario.seed, "inference untrained model", index) >> 65)
    return nn.Sequential(*portions.in_order).eval()


def target_of(
    scenario: Scenario,
    state: GlobalState,
    auxiliary: Auxiliary | None,
    query_budget: int,
    client: int | None = None,
    in_training: bool = False,
) -> Target:
    """``client``: whose portion, where clients keep portions of their own. ``in_training``: smashed data came from
    batches in training mode, so BatchNorm normalises by the batch here too."""
    portions, _ = trained_portions(scenario, state, client, in_training)
    low, high = RANGES[scenario.pixels]
    return Target(
        scenario.seed,
        scenario.model.input_shape,
        scenario.model.classes,
        low,
        high,
        functools.partial(untrained_portion, scenario),
        portions.head,
        _finish(portions),
        auxiliary,
        query_budget,
        _sends(scenario, portions.head),
        u_shape=_u_shape(scenario, portions),
        learned=LearnedInTraining(_hijack(scenario, state), _generator(scenario, state)),
    )


def trained_portions(
    scenario: Scenario, state: GlobalState, client: int | None, in_training: bool
) -> tuple[Portions, FlatPortion]:
    """The portions of a state, which do not train, and the client portion as a vector; arguments as of ``target_of``."""
    portions = portions_of(scenario, scenario.seed)
    portion = state.client if client is None else state.client_portions.get(client, state.client)
    flat = FlatPortion(portions.client)
    flat.vector.copy_(portion)
    if portions.server:
        FlatPortion(portions.server).vector.copy_(state.server)
    for module in (*portions.client, *portions.server):
        module.requires_grad_(False)
        _evaluate(module, by_batch=in_training)
    return portions, flat


def _u_shape(scenario: Scenario, portions: Portions) -> UShape | None:
    if portions.body is None or portions.tail is None:
        return None
    return UShape(portions.body, portions.tail, functools.partial(untrained_tail, scenario))


def updates_of(scenario: Scenario, state: GlobalState, training: LocalTraining) -> ObservedUpdates:
    """Updates of the client portion of a state, parameters only, that came about by ``training``."""
    _, flat = trained_portions(scenario, state, None, in_training=True)

    def named(update: torch.Tensor) -> dict[str, torch.Tensor]:
        buffers = update.new_zeros(len(flat.vector) - flat.parameters)
        tensors = flat.named_tensors(torch.cat([update, buffers]))
        return {name: tensors[name] for name in flat.names[: len(flat.trainable)]}

    return ObservedUpdates(named, training)


def _sends(scenario: Scenario, client: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    """From inputs to smashed data as defended clients send them."""
    smashed = of_smashed(scenario.message_defenses)
    in_use = SmashedInUse(smashed, scenario.seed, scenario.model.classes, "use")
    return lambda x: in_use(client(x))


def hijacking_of(scenario: Scenario) -> Hijacking | None:
    """The scenario's hijacking, if there is one."""
    found = [single for single in singles(scenario.attack) if isinstance(single, Hijacking)]
    return found[0] if found else None


def _hijack(scenario: Scenario, state: GlobalState) -> Callable[[torch.Tensor], torch.Tensor] | None:
    attack = hijacking_of(scenario)
    learned = {} if attack is None else state.memory.get(path_of(attack), {})
    if attack is None or not learned:
        return None
    network = attack.inverse(learned, scenario.seed, scenario.model.input_shape)

    def inverse(z: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            x: torch.Tensor = network(z)
        return x

    return inverse


def gan_of(scenario: Scenario) -> GanAttack | None:
    """The scenario's attack with a generator, if there is one."""
    found = [single for single in singles(scenario.attack) if isinstance(single, GanAttack)]
    return found[0] if found else None


def learned_in(scenario: Scenario) -> frozenset[Fact]:
    """What attacks in training leave with whoever carries them out."""
    by: dict[Fact, object] = {"hijack": hijacking_of(scenario), "generator": gan_of(scenario)}
    return frozenset(fact for fact, attack in by.items() if attack is not None)


def _generator(scenario: Scenario, state: GlobalState) -> TrainedGenerator | None:
    """Of the malicious client with the lowest id that has trained one."""
    attack = gan_of(scenario)
    if attack is None:
        return None
    kept = {client: learned for client, learned in sorted(by_client(state.memory, step_attack.kept_as(attack)).items())}
    if not kept:
        return None
    client, learned = next(iter(kept.items()))
    low, high = RANGES[scenario.pixels]
    model = scenario.model
    start = step_attack.StepStart(
        scenario.seed, state.round + 1, client, 0, model.input_shape, low, high, model.classes, True, learned
    )
    numbers = torch.zeros(0, dtype=scenario.training.dtype)
    made = [generator_of(attack, one, numbers)[0].eval() for one in (start, replace(start, learned={}))]
    generate, untrained = (functools.partial(_samples_of, network, attack.latent) for network in made)
    return TrainedGenerator(client, attack.target, generate, untrained)


def _samples_of(generator: nn.Module, latent: int, draw: torch.Generator, count: int) -> torch.Tensor:
    noise = torch.randn((count, latent), generator=draw, dtype=torch.float64)
    with torch.no_grad():
        x: torch.Tensor = generator(noise.to(next(generator.parameters())))
    return x


def _finish(portions: Portions) -> Callable[[torch.Tensor], torch.Tensor]:
    rest = nn.Sequential(*(portion for portion in (portions.body, portions.tail) if portion is not None))

    def finish(z: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = rest(z)
        return logits

    return finish


def _evaluate(network: nn.Module, by_batch: bool) -> None:
    """Evaluation mode, but for BatchNorm that trains where ``by_batch``: it normalises by the batch, and what it has
    learned stays as it is."""
    normalising = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training]
    network.eval()
    for module in normalising if by_batch else ():
        module.train()
        module.momentum = 0.0
