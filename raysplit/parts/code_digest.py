"""A digest of a user's own code and of all that it can reach, so that an edited experiment is another experiment.

From a class or function the walk follows, as long as it finds the user's own (``ownership.py``): the global names that
code reads, closures, defaults, decorators, base classes, members of classes, and the values that constants have when
the digest is taken. A function is its syntax tree, so comments, spaces and docstrings do not matter; where its text
cannot be had it is its bytecode, which another version of Python renames. Libraries and RaySplit are names. A text that
names a file stands for the file's content too. Values are taken apart as ``pickle`` would; what cannot be, such as an
open file, is refused. Not seen: what code reads by names that it makes up while it runs (``getattr``, ``eval``).

The walk keeps a queue and numbers what it finds in that order, so it needs no recursion, cycles end, and neither
the names of modules nor addresses are part of the digest.
"""

from __future__ import annotations

import builtins
import dataclasses
import enum
import functools
import hashlib
import importlib
import importlib.util
import inspect
import json
import os
import sys
import types
import typing
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

from raysplit.errors import ScenarioError
from raysplit.parts.content import named_file, numbers
from raysplit.parts.name_reads import Import, Path, paths_in, reads
from raysplit.parts.own_modules import helper_name
from raysplit.parts.ownership import is_own_module, is_own_namespace, neutral
from raysplit.parts.source_text import definition_of, nested, plain

VERSION = 1
"""Of the digest; a change of what it covers raises it."""
LONG = 1000
_PLAIN = (type(None), bool, int, float, str)
_GENERATED = {
    *("__init__", "__repr__", "__eq__", "__lt__", "__le__", "__gt__", "__ge__", "__hash__", "__replace__"),
    *("__setattr__", "__delattr__", "__getstate__", "__setstate__"),
}


def code_digest(thing: Any) -> str:
    """sha256 of a user's class, function or other callable and of all of the user's own that it can reach.

    Raises ``ScenarioError`` where something cannot be followed.
    """
    walk = _Walk()
    try:
        root = walk.value(thing, f"{_name(thing)}")
        while walk.queue:
            walk.step()
        text = json.dumps([VERSION, root, walk.forms], sort_keys=True)
    except RecursionError:
        raise ScenarioError(
            f"{_name(thing)} reaches a value that holds itself in a way that its scenario's hash cannot follow; build "
            "that value inside the function that uses it"
        ) from None
    return hashlib.sha256(text.encode()).hexdigest()


class _Walk:
    """``forms[n]`` is the form of the n-th thing found; ``queue`` holds those whose form is still to be made."""

    def __init__(self) -> None:
        self.forms: list[Any] = []
        self.queue: deque[tuple[int, Any, str, str]] = deque()
        self._numbers: dict[int, int] = {}
        self._kept: list[Any] = []  # an id is good as long as its object lives
        self._folder = ""

    def step(self) -> None:
        number, thing, where, self._folder = self.queue.popleft()
        self.forms[number] = self._form(thing, where)

    def _later(self, thing: Any, where: str, folder: str | None = None) -> dict[str, int]:
        if id(thing) not in self._numbers:
            self._numbers[id(thing)] = len(self.forms)
            self._kept.append(thing)
            self.queue.append((len(self.forms), thing, where, self._folder if folder is None else folder))
            self.forms.append(None)
        return {"met": self._numbers[id(thing)]}

    def value(self, thing: Any, where: str) -> Any:
        """The form of a value, or a reference to it where it has an identity or may hold itself."""
        kind = type(thing)
        if kind is str:
            return self._text(thing)
        if kind in (type(None), bool, int):
            return thing
        if kind in (float, complex, type(Ellipsis), type(NotImplemented), range):
            return {kind.__name__: repr(thing)}
        if kind in (bytes, bytearray):
            return {kind.__name__: hashlib.sha256(thing).hexdigest()}
        if kind is tuple:
            return {"tuple": self._values(thing, where)}
        if kind in (set, frozenset):
            return {"set": sorted(code_digest(item) for item in thing)}
        if isinstance(thing, types.ModuleType):
            own = is_own_module(thing.__name__)
            return self._later(thing, where, _folder(vars(thing))) if own else {"module": thing.__name__}
        if isinstance(thing, types.GenericAlias | types.UnionType) or (
            not isinstance(thing, type) and kind.__module__ in ("typing", "typing_extensions")
        ):
            parts = [typing.get_origin(thing) or getattr(thing, "__name__", ""), *typing.get_args(thing)]
            return {"typing": self._values(parts, where)}
        if isinstance(thing, type):
            own = is_own_module(thing.__module__)
            names = vars(sys.modules[thing.__module__]) if thing.__module__ in sys.modules else {}
            return self._later(thing, where, _folder(names)) if own else {"library": _full_name(thing)}
        if isinstance(thing, types.FunctionType):
            if is_own_namespace(thing.__globals__) or thing.__closure__ or thing.__dict__:
                return self._later(thing, where, _folder(thing.__globals__))
            return {"library": f"{thing.__globals__.get('__name__')}.{thing.__qualname__}"}
        return self._descriptor(thing, where) or self._instance(thing, where)

    def _values(self, things: Iterable[Any], where: str) -> list[Any]:
        return [self.value(thing, where) for thing in things]

    def _text(self, text: str) -> Any:
        form = neutral(text, self._folder)
        file = named_file(text, self._folder)
        if len(form) > LONG:
            form = "sha256 " + hashlib.sha256(form.encode(errors="surrogatepass")).hexdigest()
        return form if file is None else {"text": form, "file": file}

    def _descriptor(self, thing: Any, where: str) -> Any:
        """What stands for functions of its own; None for anything else."""
        if isinstance(thing, types.MethodType):
            return {"method": self._values((thing.__func__, thing.__self__), where)}
        if isinstance(thing, property):
            return {"property": self._values((thing.fget, thing.fset, thing.fdel), where)}
        if isinstance(thing, staticmethod | classmethod):
            return {type(thing).__name__: self.value(thing.__func__, where)}
        if isinstance(thing, functools.cached_property):
            return {"cached_property": self.value(thing.func, where)}
        if isinstance(thing, types.BuiltinFunctionType):
            owner = thing.__self__
            if owner is None or isinstance(owner, types.ModuleType):
                return self._built_in(thing)
            return {"method": [thing.__name__, self.value(owner, where)]}
        if isinstance(
            thing, types.MethodDescriptorType | types.WrapperDescriptorType | types.ClassMethodDescriptorType
        ):
            return {"library": _full_name(thing)}
        if callable(thing) and inspect.isfunction(getattr(thing, "__wrapped__", None)):
            return {"wrapped": [_full_name(type(thing)), self.value(thing.__wrapped__, where)]}
        return None

    def _built_in(self, thing: Any) -> Any:
        """Compiled code: a library's by name, a user's own by the content of its file."""
        home = sys.modules.get(thing.__module__ or "")
        file = getattr(home, "__file__", None)
        if home is None or file is None or not is_own_module(home.__name__):
            return {"library": f"{thing.__module__}.{thing.__qualname__}"}
        return {"compiled": thing.__qualname__, "file": named_file(file)}

    def _instance(self, thing: Any, where: str) -> Any:
        if isinstance(thing, PurePath):
            return {"path": self._text(str(thing))}
        if isinstance(thing, types.MappingProxyType):
            return {"read_only": self.value(dict(thing), where)}
        return numbers(thing) or self._later(thing, where)

    # What is numbered

    def _form(self, thing: Any, where: str) -> Any:
        if isinstance(thing, types.FunctionType):
            own = is_own_namespace(thing.__globals__)
            return self._own_function(thing) if own else self._library_function(thing, where)
        if isinstance(thing, types.ModuleType):
            names = {name: value for name, value in vars(thing).items() if not _is_dunder(name)}
            return {"module": self._named(names, f"{thing.__name__.rpartition('.')[2]}.")}
        if isinstance(thing, type):
            return self._class(thing)
        if type(thing) in (list, dict):
            flat = thing if type(thing) is list else [*thing.keys(), *thing.values()]
            if len(thing) > LONG and all(type(item) in _PLAIN for item in flat):
                return {type(thing).__name__: hashlib.sha256(repr(thing).encode(errors="replace")).hexdigest()}
            items = thing if type(thing) is list else thing.items()
            return {type(thing).__name__: self._values(items, where)}
        if dataclasses.is_dataclass(thing):
            return self._dataclass(thing, where)
        if isinstance(thing, enum.Enum):
            return {"member": [self.value(type(thing), where), thing.name]}
        return self._taken_apart(thing, where)

    def _named(self, values: Mapping[str, Any], owner: str) -> dict[str, Any]:
        return {name: self.value(value, f"{owner}{name}") for name, value in sorted(values.items())}

    def _own_function(self, function: types.FunctionType) -> Any:
        code, names = function.__code__, function.__globals__
        definition = definition_of(code, names)
        paths, imports = reads(code)
        found = {*paths, *(_decorator_names(definition))}
        who = f"which {function.__qualname__.replace('<locals>.', '')} reads"
        form: dict[str, Any] = {
            "name": code.co_name,
            "code": _bytecode(code) if definition is None else plain(definition),
            "reads": self._globals(sorted(found), names, who),
            "imports": [self._imported(wanted, names, function) for wanted in imports],
            "files": self._files_in(code),
        }
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            form[f"closure {name}"] = self.value(cell.cell_contents, f"{name!r}, {who},") if _filled(cell) else "empty"
        about = f"a default of {function.__qualname__}"
        form["defaults"] = [
            self._values(function.__defaults__ or (), about),
            self._named(function.__kwdefaults__ or {}, f"{about}: "),
        ]
        form["attributes"] = self._named(function.__dict__, f"{function.__qualname__}.")
        return form

    def _globals(self, paths: Iterable[Path], names: Mapping[str, Any], who: str) -> dict[str, Any]:
        """The values of global names; of a module of the user's own only the attributes that are read."""
        found: dict[str, Any] = {}
        for path in paths:
            if path[0] not in names:
                if not hasattr(builtins, path[0]):
                    found[path[0]] = "undefined"
                continue
            if _is_dunder(path[0]):
                continue  # __file__ and __name__ say where a file lies, not what is in it
            value, used = names[path[0]], 1
            while used < len(path) and isinstance(value, types.ModuleType) and is_own_module(value.__name__):
                if not hasattr(value, path[used]):
                    break
                value, used = getattr(value, path[used]), used + 1
            name = ".".join(path[:used])
            found[name] = self.value(value, f"{name!r}, {who},")
        return found

    def _imported(self, wanted: Import, names: Mapping[str, Any], function: types.FunctionType) -> Any:
        """What an import inside a function brings."""
        package = str(names.get("__package__") or "")
        full = (
            importlib.util.resolve_name("." * wanted.level + wanted.module, package) if wanted.level else wanted.module
        )
        if helper_name(full, names) is not None:
            raise ScenarioError(
                f"{function.__qualname__} imports {wanted.module or wanted.names[0]!r} when it runs, where the module "
                "may be out of reach; import it at the top of the file"
            )
        try:
            module = importlib.import_module(full) if is_own_module(full) else None
        except ImportError:
            module = None
        if module is None or not is_own_module(full):
            return [full, *wanted.names]
        read = {name: getattr(module, name, None) for name in wanted.names} or {full: module}
        return self._named(read, f"{function.__qualname__} imports ")

    def _files_in(self, code: types.CodeType) -> dict[str, str]:
        """The content of files that texts in a function name."""
        texts = {text for inner in nested(code) for text in inner.co_consts if type(text) is str}
        files = ((text, named_file(text, self._folder)) for text in sorted(texts))
        return {text: digest for text, digest in files if digest is not None}

    def _library_function(self, function: types.FunctionType, where: str) -> Any:
        """A library's function around a user's own, such as one that a library's decorator made."""
        form: dict[str, Any] = {"library": f"{function.__globals__.get('__name__')}.{function.__code__.co_name}"}
        wrapped = function.__dict__.get("__wrapped__")
        inside = [cell.cell_contents for cell in function.__closure__ or () if _filled(cell)]
        form["around"] = self._values((thing for thing in (wrapped, *inside) if _may_be_own(thing)), where)
        for thing in inside:
            if type(thing) is dict:  # such as the register of functools.singledispatch
                form["around"] += self._values((item for item in thing.values() if inspect.isfunction(item)), where)
        return form

    def _class(self, cls: type) -> Any:
        form: dict[str, Any] = {
            "class": cls.__qualname__,
            "bases": self._values(cls.__bases__, cls.__qualname__),
            "metaclass": self.value(type(cls), cls.__qualname__),
            "annotations": [
                [name, self.value(hint, f"{cls.__qualname__}.{name}")]
                for name, hint in vars(cls).get("__annotations__", {}).items()
            ],
        }
        members = {name: value for name, value in vars(cls).items() if _is_member(cls, name, value)}
        if issubclass(cls, enum.Enum):
            cases = {name: case.value for name, case in cls.__members__.items()}
            members = {name: value for name, value in members.items() if name not in cases and name[0] != "_"} | cases
        form["members"] = self._named(members, f"{cls.__qualname__}.")
        if "__dataclass_fields__" in vars(cls):
            made = {field.name: field.default_factory for field in dataclasses.fields(cls)}
            made = {name: factory for name, factory in made.items() if factory is not dataclasses.MISSING}
            form["factories"] = self._named(made, f"{cls.__qualname__}.")
        return form

    def _dataclass(self, thing: Any, where: str) -> Any:
        from raysplit.parts.canonical import hashed_fields

        values = {name: getattr(thing, name) for name in hashed_fields(thing)}
        return {"type": self.value(type(thing), where), "fields": self._named(values, f"{where}: ")}

    def _taken_apart(self, thing: Any, where: str) -> Any:
        """Any other object, as pickle takes it apart: what makes it, its state and its items."""
        try:
            reduced = thing.__reduce_ex__(4)
            if isinstance(reduced, str):
                return {"library": f"{getattr(thing, '__module__', type(thing).__module__)}.{reduced}"}
            make, arguments, state, items, pairs = (*reduced, None, None, None)[:5]
            form = {
                "made_by": self._values((make, *arguments), where),
                "items": self._values(items or (), where),
                "pairs": self._values(pairs or (), where),
            }
        except (ScenarioError, RecursionError):
            raise
        except Exception as error:
            raise ScenarioError(
                f"{where} holds a {type(thing).__name__}, which the scenario's hash cannot follow; make it inside the "
                "function that uses it, or make what decides over it a field"
            ) from error
        if isinstance(state, dict):
            form["state"] = [[self.value(key, where), self.value(value, where)] for key, value in state.items()]
        elif state is not None:
            form["state"] = self.value(state, where)
        return form


def _bytecode(code: types.CodeType) -> Any:
    """A function without text: its instructions and what they name."""
    constants = [
        _bytecode(constant) if isinstance(constant, types.CodeType) else _constant(constant)
        for constant in code.co_consts
    ]
    shape = [code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags]
    names = [code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars]
    return [shape, code.co_code.hex(), constants, names, getattr(code, "co_exceptiontable", b"").hex()]


def _constant(value: Any) -> str:
    return repr(sorted(map(repr, value))) if isinstance(value, frozenset) else repr(value)


def _decorator_names(definition: Any) -> set[Path]:
    found: set[Path] = set()
    for decorator in getattr(definition, "decorator_list", []):
        found |= paths_in(decorator)
    return found


def _is_member(cls: type, name: str, value: Any) -> bool:
    """Whether a name in a class's namespace was put there by its author."""
    if name == "_abc_impl" or isinstance(value, types.MemberDescriptorType | types.GetSetDescriptorType):
        return False
    if _is_dunder(name) and not (callable(value) or isinstance(value, property | staticmethod | classmethod)):
        return False
    generated = "__dataclass_fields__" in vars(cls) and name in _GENERATED and inspect.isfunction(value)
    if not generated or getattr(sys.modules.get(cls.__module__), "__file__", None) is None:
        return True
    return inspect.unwrap(value).__code__.co_filename not in ("<string>", dataclasses.__file__)


def _may_be_own(thing: Any) -> bool:
    """Whether a value in a library's closure may lead to the user's own: code, or an instance of an own class."""
    if isinstance(thing, types.MethodType):
        return _may_be_own(thing.__self__) or _may_be_own(thing.__func__)
    if isinstance(thing, type):
        return is_own_module(thing.__module__)
    return type(thing) in _PLAIN or inspect.isfunction(thing) or is_own_module(type(thing).__module__)


def _is_dunder(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - raises where the cell is empty
    except ValueError:
        return False
    return True


def _folder(names: Mapping[str, Any]) -> str:
    file = names.get("__file__")
    return os.path.dirname(os.path.abspath(file)) if file else ""


def _full_name(thing: Any) -> str:
    owner = getattr(thing, "__objclass__", None)
    return f"{getattr(owner or thing, '__module__', '')}.{thing.__qualname__}"


def _name(thing: Any) -> str:
    return str(getattr(thing, "__qualname__", None) or f"a {type(thing).__name__}")
