"""How data attacks are carried out: in order, on one client's training set; and how their success is measured on its
test set."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from raysplit import rng
from raysplit.attacks.attack import Attack, parts_of
from raysplit.attacks.data.data_attack import DataAttack, DataView, MeasuredAttack, TestView
from raysplit.attacks.scheduled import attacks_in_force, singles
from raysplit.errors import ScenarioError
from raysplit.population.population import Samples
from raysplit.protocols.outcome import Poisoning


class MaliciousClient(NamedTuple):
    """A malicious client in a round: see ``DataView``."""

    client: int
    rank: int
    round: int
    forward: Callable[[torch.Tensor], torch.Tensor] | None = None
    whole: bool = False


def data_attacks_in(attack: Attack | None, round: int) -> list[tuple[tuple[int, int], DataAttack]]:
    """The attacks on data in force in a round, each with its place among those that are joined: the name of its random
    stream."""
    return [
        ((place, inner), single)
        for place, joined in enumerate(parts_of(attack))
        for inner, single in enumerate(attacks_in_force(joined, round))
        if isinstance(single, DataAttack)
    ]


def poison(
    attack: Attack | None, own: Samples, malicious_client: MaliciousClient, classes: int, seed: int
) -> tuple[Samples, dict[str, Poisoning]]:
    """What a malicious client trains on, and what each attack changed, by the attack's name.

    Raises ``ScenarioError`` where an attack returns what no training set of this client can be, or writes into what it
    was shown.
    """
    done: dict[str, Poisoning] = {}
    for place, single in data_attacks_in(attack, malicious_client.round):
        began, name = time.perf_counter(), type(single).__name__
        stream = rng.stream(seed, "poison data", *place, malicious_client.client)
        view = DataView(
            own,
            malicious_client.client,
            malicious_client.rank,
            malicious_client.round,
            classes,
            stream,
            malicious_client.forward,
            malicious_client.whole,
        )
        seen = (own.x._version, own.y._version)  # count writes
        made = single.poison_samples(view)
        if (own.x._version, own.y._version) != seen:
            raise ScenarioError(f"{name}.poison_samples() changed the samples that it was shown; work on a copy")
        made = _samples(f"{name}.poison_samples()", made)
        _check(name, own, made, classes)
        changed = int(((made.x != own.x).flatten(1).any(1) | (made.y != own.y)).sum())
        poisoning = Poisoning(1, changed, time.perf_counter() - began)
        done[name] = poisoning if name not in done else poisoning.plus(done[name])._replace(clients=1)
        own = made
    return own, done


def _samples(name: str, made: object) -> Samples:
    """``made`` as samples; raises ``ScenarioError`` where it is no pair of tensors."""
    if isinstance(made, tuple) and len(made) == 2 and all(isinstance(tensor, torch.Tensor) for tensor in made):
        return Samples(*made)
    got = ", ".join(type(item).__name__ for item in made) if isinstance(made, tuple) else type(made).__name__
    raise ScenarioError(f"{name} must return Samples(x, y), two tensors, but it returned {got}")


def _check(name: str, own: Samples, made: Samples, classes: int) -> None:
    if (
        made.x.shape != own.x.shape
        or made.x.dtype != own.x.dtype
        or made.y.shape != own.y.shape
        or made.y.dtype != own.y.dtype
    ):
        raise ScenarioError(
            f"{name}.poison_samples() must return as many samples of the same kind, x {own.x.dtype} "
            f"{list(own.x.shape)} and y {own.y.dtype}, but it returned x {made.x.dtype} {list(made.x.shape)} and y "
            f"{made.y.dtype} {list(made.y.shape)}"
        )
    if len(made.y) and not (int(made.y.min()) >= 0 and int(made.y.max()) < classes):
        raise ScenarioError(
            f"{name}.poison_samples() gave labels from {int(made.y.min())} to {int(made.y.max())}, but the population "
            f"has {classes} classes, counted from 0"
        )


def measured(attack: Attack | None) -> tuple[MeasuredAttack, ...]:
    """The single attacks whose success can be measured, whenever they are carried out."""
    return tuple(single for single in singles(attack) if isinstance(single, MeasuredAttack))


def attempts(attacks: Sequence[MeasuredAttack], test: Samples, client: int, classes: int, seed: int) -> list[Samples]:
    """With what the success of attacks is measured on one evaluation client, attack by attack: samples, and the classes
    it wants. Raises ``ScenarioError`` where an attack returns what no test set of this client can be."""
    found = []
    for place, attack in enumerate(attacks):
        name = f"{type(attack).__name__}.attempts()"
        view = TestView(test, client, classes, rng.stream(seed, "attack attempts", place, client))
        made = _samples(name, attack.attempts(view))
        if (
            made.x.shape != (len(made.y), *test.x.shape[1:])
            or made.x.dtype != test.x.dtype
            or made.y.dtype != torch.int64
        ):
            raise ScenarioError(
                f"{name} must return samples like those of the test set, x {test.x.dtype} "
                f"[k, {', '.join(map(str, test.x.shape[1:]))}] and y torch.int64 [k], but it returned x {made.x.dtype} "
                f"{list(made.x.shape)} and y {made.y.dtype} {list(made.y.shape)}"
            )
        found.append(made)
    return found
