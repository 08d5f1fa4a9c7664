"""Contracts: base classes that declare all that one kind of component may answer, with a default wherever there is one.

A component (a protocol, an attack, a model …) derives from the contract of its kind and answers by class attributes,
fields or properties, whichever it likes. Whoever reads an answer then reads a plain attribute: no default is repeated
where it is read, and an answer that a component misspells is an error instead of a default that nobody meant.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from raysplit.errors import ScenarioError

Cls = TypeVar("Cls", bound=type)
CLOSE = 0.88
"""How alike (difflib's ratio) a name must be to an answer to count as a misspelling of it."""

if TYPE_CHECKING:
    answer = property
else:

    class answer:
        """A read-only property of a contract that a subclass may answer by a class attribute, a field or a property.

        A builtin property would stand in the way of a dataclass field of its name that has no default.
        """

        def __init__(self, default: Callable[[Any], Any]) -> None:
            self.default = default
            self.__doc__ = default.__doc__
            self.__isabstractmethod__ = getattr(default, "__isabstractmethod__", False)

        def __get__(self, instance: Any, owner: type | None = None) -> Any:
            if instance is None:  # dataclass() asks the class for a field's default, and there is none
                raise AttributeError(f"{self.default.__qualname__} is an answer of instances")
            return self.default(instance)


def contract(kind: str, also: tuple[str, ...] = ()) -> Callable[[Cls], Cls]:
    """Marks a base class as the contract of a ``kind`` of component, such as ``"a protocol"``.

    Its public members are the answers. Those without a default, which every component must give, are
    ``abc.abstractmethod``. ``also``: methods that a component may have and that say something by being there.
    """

    def mark(cls: Cls) -> Cls:
        cls.__contract__ = kind  # type: ignore[attr-defined]
        cls.__also__ = also  # type: ignore[attr-defined]
        return cls

    return mark


def answers_of(cls: type) -> dict[str, Any]:
    """The answers that the contracts of a class declare, as they are there (``answer`` or function), by name."""
    found: dict[str, Any] = {}
    for base in reversed(_contracts(cls)):
        found.update({name: value for name, value in vars(base).items() if not name.startswith("_")})
    return found


def check_answers(cls: type) -> None:
    """Raise ``ScenarioError`` where a component declares what is nearly an answer of its contract and none, or leaves
    out an answer that has no default. Classes without a contract pass."""
    contracts = _contracts(cls)
    if not contracts or cls in contracts:
        return
    kind: str = contracts[0].__contract__  # type: ignore[attr-defined]
    answers = answers_of(cls)
    known = [*answers, *(name for base in contracts for name in base.__also__)]  # type: ignore[attr-defined]
    own = _declared(cls, contracts)
    for name in own:
        near = difflib.get_close_matches(name, [other for other in known if other not in own], n=1, cutoff=CLOSE)
        if name not in known and near:
            raise ScenarioError(
                f"{cls.__name__} declares {name!r}, which is no answer of {kind}; did you mean {near[0]!r}?"
            )
    for name, declared in answers.items():
        if name not in own and getattr(declared, "__isabstractmethod__", False):
            raise ScenarioError(f"{cls.__name__} does not answer {name!r}, which {kind} must; declare it")


def _contracts(cls: type) -> list[type]:
    """The contracts among a class's bases, itself included, the nearest first."""
    return [base for base in cls.__mro__ if "__contract__" in vars(base)]


def _declared(cls: type, contracts: list[type]) -> list[str]:
    """The public names that a class and its bases below the contracts declare: fields, class attributes, methods."""
    names = [
        name
        for base in cls.__mro__
        if base not in contracts and base.__module__ != "typing" and base is not object
        for name in (*inspect.get_annotations(base), *vars(base))
    ]
    return [name for name in dict.fromkeys(names) if not name.startswith("_")]
