"""A user's own chain of stages, without writing a class."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import nn

from raysplit.errors import ScenarioError
from raysplit.models.network import ModelSpec
from raysplit.parts.part import part, within

Stages = Iterable[tuple[str, nn.Module]]


@part
class Sequential(ModelSpec):
    """``make(**options)`` gives the named stages. Make one with ``sequential``, which checks what it is given."""

    make: Callable[..., Stages]
    input_shape: tuple[int, int, int]
    classes: int
    cut: str | None = None
    tail: str | None = None
    named_cuts: tuple[tuple[str, str], ...] = ()
    options: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        within("Sequential.classes", self.classes, 1)
        name = getattr(self.make, "__qualname__", repr(self.make))
        if not inspect.isfunction(self.make) and not inspect.isclass(self.make):
            raise ScenarioError(
                f"sequential() needs a function that makes stages, whose source names the scenario, but {name} is a "
                f"{type(self.make).__name__}"
            )

    @property
    def cuts(self) -> Mapping[str, str]:
        return dict(self.named_cuts)

    def stages(self) -> list[tuple[str, nn.Module]]:
        """Raises ``ScenarioError`` where the function gives anything else than differently named modules."""
        made = self.make(**dict(self.options))
        stages = list(made.items() if isinstance(made, Mapping) else made)
        name = getattr(self.make, "__qualname__", repr(self.make))
        for stage in stages:
            if not (isinstance(stage, tuple) and len(stage) == 2 and isinstance(stage[1], nn.Module)):
                raise ScenarioError(f"{name}() must give pairs (name, torch module), but it gives {stage!r:.80}")
            if not isinstance(stage[0], str) or not stage[0] or "." in stage[0]:
                raise ScenarioError(f"{name}() names a stage {stage[0]!r}; a stage's name is a text without '.'")
        names = [stage[0] for stage in stages]
        twice = next((stage for stage in names if names.count(stage) > 1), None)
        if twice is not None or not names:
            raise ScenarioError(f"{name}() gives {f'two stages named {twice!r}' if names else 'no stage'}")
        return stages


def sequential(
    make: Callable[..., Stages],
    input_shape: tuple[int, int, int],
    classes: int,
    cut: str | None = None,
    tail: str | None = None,
    cuts: Mapping[str, str] | None = None,
    **options: Any,
) -> Sequential:
    """A network from a function that makes ``[("conv1", module), …]``, called with ``options``.

    The scenario's hash has the options, the function's source and that of all of your own that it uses. ``cuts`` gives
    stages further names, such as a paper's. Raises ``ScenarioError`` for stages that are not named modules.
    """
    return Sequential(
        make, input_shape, classes, cut, tail, tuple((cuts or {}).items()), tuple(sorted(options.items()))
    )
