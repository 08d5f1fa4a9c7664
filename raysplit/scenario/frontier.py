"""Cuts x defences of one scenario: what ``raysplit frontier`` trains, attacks and compares."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from raysplit.aggregation.rule import AggregationRule
from raysplit.attacks.attack import Attack
from raysplit.attacks.inference.adversary import Adversary
from raysplit.attacks.inference.inference_attack import InferenceAttack
from raysplit.defenses.detection.detection import Detection
from raysplit.defenses.messages.message_defense import MessageDefense
from raysplit.defenses.privacy.per_example_clipping import PerExampleClipping
from raysplit.errors import ScenarioError
from raysplit.parts.part import matches
from raysplit.scenario.changes import with_changes
from raysplit.scenario.scenario import Scenario

DefensePart = MessageDefense | AggregationRule | PerExampleClipping | Detection
Defense = DefensePart | Sequence[DefensePart] | Mapping[str, Any] | None
"""A defence, or several at once, put where each belongs in a scenario; or changes of a scenario by dotted names, such as
``{"protocol": SplitFedV2(u_shaped=True)}``; None: the base scenario as it is."""


@dataclass(frozen=True)
class Point:
    """One cut under one defence. ``clean``: its scenario; ``attacked``: the same, poisoned; None where there is none,
    and then ``why`` and ``why_attacked`` are the sentences that refuse them. Both texts are empty otherwise."""

    cut: str
    defense: str
    name: str
    clean: Scenario | None
    attacked: Scenario | None
    why: str = ""
    why_attacked: str = ""


@dataclass(frozen=True)
class Frontier:
    """Every cut in ``cuts`` under every defence in ``defenses``, by name, of the scenario ``base``.

    Accuracy is the clean run's at its last evaluation. ``attacks``: inference attacks by name, on what the trained model
    of the clean run sends; the strongest says what leaks. Those that go by messages of training (gradients, labels,
    updates) are carried out on those of ``round``, which is played again. ``adversary``: None: of each attack whoever
    holds what it reads, and all is assumed that it needs. ``samples``, ``auxiliary``, ``queries``: as of ``raysplit
    infer``. ``poison``: what malicious clients of ``base.cohort`` do; the accuracy that it costs is the drop. Let it
    start late (``start_round``): the rounds before are trained once. None: no drop.

    Of a cut at which a defence is impossible the point is a hole with the sentence that refuses it. Raises
    ``ScenarioError`` for what no point could be made of.
    """

    base: Scenario
    cuts: Sequence[str]
    defenses: Mapping[str, Defense]
    attacks: Mapping[str, InferenceAttack] = field(default_factory=dict)
    poison: Attack | None = None
    adversary: Adversary | None = None
    round: int | None = None
    samples: int = 30
    auxiliary: int = 2000
    queries: int = 1000

    def __post_init__(self) -> None:
        _check_types(self)
        if self.base.attack is not None:
            raise ScenarioError(
                "Frontier.base has an attack of its own; give it as Frontier.poison, and base without it"
            )
        if self.base.protocol.server == "none":
            raise ScenarioError(
                f"{type(self.base.protocol).__name__} does not split the model, so Frontier has no cuts to compare; use "
                "a split protocol such as SplitFedV2()"
            )
        for what, names in (("cuts", list(self.cuts)), ("defenses", list(self.defenses))):
            if not names:
                raise ScenarioError(f"Frontier.{what} is empty; give one at least")
            slugs = [_slug(name) for name in names]
            twice = next((name for name, slug in zip(names, slugs, strict=True) if slugs.count(slug) > 1), None)
            if twice is not None:
                raise ScenarioError(
                    f"Frontier.{what} has two names like {twice!r}, which would be one in the names of run folders; "
                    "rename one"
                )
        self._check_rows()

    @functools.cached_property
    def points(self) -> tuple[Point, ...]:
        """All of them, cut by cut, in the order in which they were given."""
        return tuple(self._point(cut, name) for cut in self.cuts for name in self.defenses)

    @property
    def scenarios(self) -> list[Scenario]:
        """Those of all points, each clean one before its poisoned one."""
        return [one for point in self.points for one in (point.clean, point.attacked) if one is not None]

    def _point(self, cut: str, defense: str) -> Point:
        name = f"{self.base.name}-{_slug(cut)}-{_slug(defense)}"
        changes = {"model.cut": cut, **changes_of(defense, self.defenses[defense]), "name": name}
        try:
            clean = with_changes(self.base, changes)
        except ScenarioError as error:
            return Point(cut, defense, name, None, None, why=str(error))
        if self.poison is None:
            return Point(cut, defense, name, clean, None)
        try:
            attacked = clean.replace(name=f"{name}-poisoned", attack=self.poison)
        except ScenarioError as error:
            return Point(cut, defense, name, clean, None, why_attacked=str(error))
        return Point(cut, defense, name, clean, attacked)

    def _check_rows(self) -> None:
        """A cut or a defence that is refused throughout is a mistake, and no hole."""
        check_rows([(point.cut, point.defense, point.why) for point in self.points])
        if self.poison is not None and not any(point.attacked for point in self.points):
            raise ScenarioError(f"Frontier.poison is refused everywhere: {self.points[0].why_attacked}")


def check_rows(points: Sequence[tuple[str, str, str]]) -> None:
    """Raise ``ScenarioError`` where all points, each (cut, defence, why it is refused or an empty text), of one cut or of
    one defence are refused."""
    if points and all(why for _, _, why in points):
        raise ScenarioError(f"every point of the frontier is refused: {points[0][2]}")
    for place, what in ((0, "the cut"), (1, "the defence")):
        for name in dict.fromkeys(point[place] for point in points):
            refused = [point[2] for point in points if point[place] == name]
            if all(refused):
                raise ScenarioError(f"{what} {name!r} of the frontier is refused everywhere: {refused[0]}")


def changes_of(name: str, defense: Defense) -> dict[str, Any]:
    """The fields of a scenario in which a defence goes, with their values. ``name``: the defence's, for the sentence of
    the ``ScenarioError`` where it is none."""
    if isinstance(defense, Mapping):
        wrong = next((path for path in defense if path in ("name", "attack", "model.cut")), None)
        if wrong is not None:
            raise ScenarioError(
                f"Frontier.defenses[{name!r}] changes {wrong!r}, which the frontier itself sets; leave it out"
            )
        return dict(defense)
    parts = () if defense is None else tuple(defense) if isinstance(defense, list | tuple) else (defense,)
    changes: dict[str, Any] = {}
    for part in parts:
        if isinstance(part, MessageDefense):
            changes["message_defenses"] = (*changes.get("message_defenses", ()), part)
            continue
        place = next((place for place, kind in _PLACES.items() if matches(part, kind)), None)
        if place is None:
            raise ScenarioError(
                f"Frontier.defenses[{name!r}] is {part!r}, which is no defence; give a defence of messages, a rule, "
                "PerExampleClipping, Detection, several in a tuple, changes of the scenario such as {'training.lr': "
                "0.01}, or None"
            )
        if place in changes:
            raise ScenarioError(f"Frontier.defenses[{name!r}] has two parts for Scenario.{place}; give one of them")
        changes[place] = part
    return changes


_PLACES: dict[str, Any] = {"privacy": PerExampleClipping, "detection": Detection, "defense": AggregationRule}
"""Field of a scenario → what stands in it"""


def _slug(name: str) -> str:
    """A name as a run folder's may have it: ``noise 0.5`` → ``noise_0.5``."""
    return re.sub(r"[^A-Za-z0-9._]+", "_", name)


def _check_types(frontier: Frontier) -> None:
    """Raise ``ScenarioError`` for a field of another kind."""
    kinds: dict[str, tuple[Any, str]] = {
        "base": (Scenario, "a Scenario"),
        "poison": (Attack | None, "an attack such as SignFlip(start_round=31), or None"),
        "adversary": (Adversary | None, "an Adversary, or None"),
        "round": (int | None, "a round, or None"),
        "samples": (int, "a whole number"),
        "auxiliary": (int, "a whole number"),
        "queries": (int, "a whole number"),
    }
    for name, (kind, words) in kinds.items():
        if not matches(getattr(frontier, name), kind):
            raise ScenarioError(f"Frontier.{name} must be {words}, but it is {getattr(frontier, name)!r:.80}")
    if isinstance(frontier.cuts, str) or not all(isinstance(cut, str) for cut in frontier.cuts):
        raise ScenarioError(
            f"Frontier.cuts must be names of cuts such as ['V1', 'V2'], but it is {frontier.cuts!r:.80}"
        )
    for name in ("defenses", "attacks"):
        value = getattr(frontier, name)
        if not isinstance(value, Mapping) or not all(isinstance(key, str) and key for key in value):
            raise ScenarioError(f"Frontier.{name} must be a mapping from names, but it is {value!r:.80}")
    for name, attack in frontier.attacks.items():
        if not isinstance(attack, InferenceAttack):
            raise ScenarioError(
                f"Frontier.attacks[{name!r}] must be an inference attack such as QueryDecoder(), but it is {attack!r:.80}"
            )
