"""Random scenarios from every public part: each trains two rounds, or is refused in one sentence.

    python tools/fuzz_scenarios.py --minutes 10 [--seed 0] [--one 1234]

Draw number k is a function of (seed, k) alone, so ``--one k`` plays a finding again. Fields are drawn by their types:
defaults most of the time, else values at and beyond the edges; fields that take a part get any public part of that
kind. What is neither trained nor refused in one sentence, or takes longer than a minute, is a finding; findings are
counted by where they were raised, printed with the scenario, and make the exit code 1.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import importlib
import inspect
import os
import random
import signal
import sys
import tempfile
import time
import traceback
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, Union

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import raysplit
from raysplit.errors import UserError
from raysplit.parts.part import field_types
from tests.toys import ToyClients, ToyCnn

LIMIT_S = 60
_INTS = (-1, 0, 1, 2, 3, 5, 8, 1000)
_FLOATS = (-1.0, 0.0, 1e-12, 0.01, 0.2, 0.5, 0.9, 1.0, 1.5, 10.0, 1e30, float("inf"), float("nan"))
_LEFT_ALONE = ("name", "population", "model", "cohort", "training", "evaluation")
"""Fields of a scenario that are drawn with more care, lest nothing trains."""


class Outcome(NamedTuple):
    """``kind``: ``trained``, ``refused`` or ``finding``; ``where``: what findings are counted by."""

    kind: str
    where: str = ""
    text: str = ""


def public_parts() -> list[type]:
    """Every public class that may stand in a scenario."""
    found = [
        getattr(importlib.import_module(home), name)
        for home, names in raysplit.HOMES.items()
        for name in names
        if home.startswith("raysplit.") and not home.startswith(("raysplit.analysis", "raysplit.app"))
    ]
    parts = [cls for cls in found if inspect.isclass(cls) and dataclasses.is_dataclass(cls)]
    return [cls for cls in parts if all(field.init for field in dataclasses.fields(cls)) and cls.__name__ != "Subset"]


class Draws:
    """Random values by type. ``parts``: what may be drawn where a part is wanted."""

    def __init__(self, seed: int, number: int) -> None:
        self.random = random.Random(f"{seed}:{number}")
        self.parts = public_parts()

    def part(self, cls: type, depth: int = 0) -> Any:
        """A part of that class; raises as the part does where its arguments are refused."""
        hints, arguments = field_types(cls), {}
        odd = self.random.random() < 0.3
        for field in dataclasses.fields(cls):
            has_default = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
            if has_default and (not odd or self.random.random() < 0.7):
                continue
            with contextlib.suppress(LookupError):
                arguments[field.name] = self.value(hints[field.name], depth + 1)
        return cls(**arguments)

    def value(self, hint: Any, depth: int = 0) -> Any:
        """A value of type ``hint``. Raises ``LookupError`` where none is known."""
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if hint is None or hint is type(None):
            return None
        if origin in (Union, types.UnionType):
            return self.value(self.random.choice(arguments), depth)
        if origin is Literal:
            return self.random.choice(arguments)
        if origin is tuple:
            if len(arguments) == 2 and arguments[1] is Ellipsis:
                return tuple(self.value(arguments[0], depth) for _ in range(self.random.randrange(3)))
            return tuple(self.value(argument, depth) for argument in arguments)
        if hint is bool:
            return self.random.random() < 0.5
        if hint is int:
            return self.random.choice(_INTS)
        if hint is float:
            return self.random.choice(_FLOATS)
        if hint is str:
            return self.random.choice(("", "V1", "V2", "mean", "client 7"))
        if inspect.isclass(hint):
            kinds = [cls for cls in self.parts if _is_a(cls, hint)]
            if kinds and depth < 4:
                return self.part(self.random.choice(kinds), depth)
        raise LookupError(f"no value of type {hint}")

    def scenario(self) -> Any:
        """A scenario on toys: small enough to train, odd enough to break."""
        dice = self.random
        clients = dice.choice((1, 2, 6, 12))
        hints = field_types(raysplit.Scenario)
        model = ToyCnn(dice.choice(("V1", "V2", "V2", "V3", None)), dice.choice((None, "fc1")), dice.random() < 0.15)
        training = raysplit.Training(
            rounds=2,
            lr=dice.choice((0.05, 0.05, 0.0, 1e6)),
            batch_size=dice.choice((None, 1, 4, 4, 1000)),
            local_epochs=dice.choice((1, 1, 2)),
        )
        cohort = raysplit.Cohort(
            dice.choice((1, 3, 6, 6, 12)), dice.choice((0.0, 0.2, 0.34, 0.5)), dice.choice(("cohort", "population"))
        )
        fields: dict[str, Any] = {
            "name": "fuzz",
            "population": ToyClients(clients, smallest=dice.choice((1, 3, 3))),
            "model": model,
            "cohort": cohort,
            "training": training,
            "protocol": self.value(hints["protocol"]),
        }
        others = [f.name for f in dataclasses.fields(raysplit.Scenario) if f.name not in {*fields, *_LEFT_ALONE}]
        for name in dice.sample(others, dice.choice((0, 1, 1, 2, 3))):
            with contextlib.suppress(LookupError):
                fields[name] = self.value(hints[name])
        if dice.random() < 0.25:
            odd = dice.choice(("cohort", "training", "evaluation"))
            changed = self.part(hints[odd])
            fields[odd] = dataclasses.replace(changed, rounds=2) if odd == "training" else changed
        return raysplit.Scenario(**fields)


def _is_a(cls: type, hint: type) -> bool:
    try:
        return issubclass(cls, hint)
    except TypeError:  # a protocol with properties: whoever has its methods
        methods = [name for name in dir(hint) if not name.startswith("_") and callable(getattr(hint, name))]
        return bool(methods) and all(callable(getattr(cls, name, None)) for name in methods)


def play(seed: int, number: int) -> Outcome:
    """One draw, played."""
    built = None
    try:
        with time_limit(LIMIT_S), tempfile.TemporaryDirectory() as folder:
            built = Draws(seed, number).scenario()
            raysplit.run(built, engine="local", out=folder)
        return Outcome("trained")
    except UserError as error:
        text = str(error)
        if "\n" in text.strip() or not text.strip() or len(text) > 600:
            return Outcome("finding", f"not one sentence: {_place(error)}", f"{text!r}\n{built!r}")
        return Outcome("refused", type(error).__name__, text)
    except Exception as error:
        where = f"{type(error).__name__} at {_place(error)}"
        return Outcome("finding", where, "".join(traceback.format_exception(error)[-4:]) + f"\n{built!r}")


def _place(error: BaseException) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/raysplit/" in frame.filename]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "outside raysplit"


@contextlib.contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    def late(*_: object) -> None:
        raise TimeoutError(f"longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--one", type=int, help="play this draw alone")
    options = parser.parse_args()
    if options.one is not None:
        outcome = play(options.seed, options.one)
        print(outcome.kind, outcome.where, outcome.text, sep="\n")
        return int(outcome.kind == "finding")
    counts: collections.Counter[str] = collections.Counter()
    findings: dict[str, list[tuple[int, str]]] = {}
    until, number = time.monotonic() + 60 * options.minutes, 0
    while time.monotonic() < until:
        outcome = play(options.seed, number)
        counts[outcome.kind] += 1
        if outcome.kind == "finding":
            findings.setdefault(outcome.where, []).append((number, outcome.text))
            if len(findings[outcome.where]) == 1:
                print(f"draw {number}: {outcome.where}\n{outcome.text}\n", flush=True)
        number += 1
    print(f"{number} draws: " + ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())))
    for where, drawn in sorted(findings.items(), key=lambda item: -len(item[1])):
        print(f"  {len(drawn)} x {where}: draws {', '.join(str(draw) for draw, _ in drawn[:5])}")
    return int(bool(findings))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
