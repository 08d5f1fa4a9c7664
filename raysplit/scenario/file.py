"""Reading a scenario file (plain Python) and ``--set`` overrides; every mistake in them becomes one sentence.

A file defines ``scenario = Scenario(...)`` or ``scenarios = [...]``. A user's own classes live in it too.
"""

from __future__ import annotations

import ast
import builtins
import dataclasses
import difflib
import hashlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from raysplit.errors import ScenarioError, UserError, nearest
from raysplit.scenario.changes import with_changes
from raysplit.scenario.scenario import Scenario


def load_scenarios(path: Path) -> tuple[list[Scenario], ModuleType]:
    """The scenarios of a file and the module that they live in. Raises ``ScenarioError`` with file and line."""
    if not path.is_file():
        folder = path.parent if path.parent.is_dir() else Path()
        near = difflib.get_close_matches(path.name, [p.name for p in folder.glob("*.py")], n=1)
        hint = f"; did you mean {folder / near[0]}?" if near else ""
        raise ScenarioError(f"there is no scenario file {path}{hint}")
    module = _execute(path)
    found = vars(module).get("scenarios")
    if found is None:
        found = vars(module).get("scenario")
        if found is None:
            raise ScenarioError(
                f"{path} defines neither 'scenario' nor 'scenarios'; end it with scenario = Scenario(...)"
            )
    scenarios = [found] if isinstance(found, Scenario) else found
    if not isinstance(scenarios, Sequence) or not scenarios or not all(isinstance(s, Scenario) for s in scenarios):
        raise ScenarioError(
            f"{path}: 'scenario' must be a Scenario and 'scenarios' a list of them, but it is {found!r:.80}"
        )
    names = [scenario.name for scenario in scenarios]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ScenarioError(f"{path} has two scenarios named {twice!r}; give each its own name")
    return list(scenarios), module


def apply_sets(scenario: Scenario, sets: Sequence[str]) -> Scenario:
    """Apply ``--set training.lr=0.01`` style overrides, each read as a Python literal and checked against its field."""
    changes: dict[str, Any] = {}
    for text in sets:
        path, equals, value = text.partition("=")
        if not equals or not path.strip():
            raise ScenarioError(f"--set {text!r} is not of the form name=value, such as training.lr=0.01")
        changes[path.strip()] = _literal(value.strip())
    return with_changes(scenario, changes)


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _execute(path: Path) -> ModuleType:
    source = path.read_bytes()
    name = f"raysplit_scenario_{hashlib.sha256(source).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ScenarioError(f"{path} cannot be read as Python; a scenario file ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and inspect look their module up here
    try:
        # Not exec_module(): it would keep bytecode beside the file, and take stale bytecode for a file changed within a
        # second.
        exec(compile(source, str(path), "exec", dont_inherit=True), module.__dict__)
    except UserError as error:
        raise type(error)(f"{path}:{_line(error, path)}: {error}") from error
    except SyntaxError as error:
        where = f"{path}:{error.lineno}" if error.lineno else str(path)
        raise ScenarioError(f"{where} is not valid Python: {error.msg}") from error
    except SystemExit as error:
        raise ScenarioError(
            f"{path}:{_line(error, path)} ends the program; a scenario file only defines scenarios"
        ) from error
    except Exception as error:
        raise ScenarioError(f"{path}:{_line(error, path)}: {_plainly(error)}") from error
    return module


def _line(error: BaseException, path: Path) -> int:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
    return (lines[-1] or 0) if lines else 0


def _plainly(error: Exception) -> str:
    """A Python exception raised by a scenario file, in the user's words."""
    text = str(error)
    if isinstance(error, ImportError) and error.name and "cannot import name" in text:
        wanted = re.search(r"cannot import name '(\w+)'", text)
        module = sys.modules.get(error.name)
        if wanted and module is not None:
            public = [name for name in dir(module) if not name.startswith("_")]
            return f"{error.name} has no {wanted.group(1)!r}; {nearest_of(wanted.group(1), public)}"
    if isinstance(error, NameError) and (named := re.search(r"name '(\w+)' is not defined", text)):
        import raysplit

        return (
            f"{named.group(1)!r} is not defined here; {nearest_of(named.group(1), [*raysplit.__all__, *dir(builtins)])}"
        )
    if isinstance(error, TypeError):
        unexpected = re.search(r"(\w+?)(?:\.__init__)?\(\) got an unexpected keyword argument '(\w+)'", text)
        if unexpected:
            owner, option = unexpected.groups()
            return f"{owner} has no option {option!r}; {nearest_of(option, _options(owner))}"
        missing = re.search(
            r"(\w+?)(?:\.__init__)?\(\) missing \d+ required (?:positional |keyword-only )?arguments?: (.+)", text
        )
        if missing:
            return f"{missing.group(1)} needs {missing.group(2)}"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _options(owner: str) -> list[str]:
    import inspect

    import raysplit

    thing = getattr(raysplit, owner, None)
    if dataclasses.is_dataclass(thing):
        return [field.name for field in dataclasses.fields(thing)]
    return list(inspect.signature(thing).parameters) if callable(thing) else []


def nearest_of(name: str, valid: Sequence[str]) -> str:
    """As ``nearest``, but silent about a long list with nothing close in it."""
    if len(valid) > 20 and not difflib.get_close_matches(name, valid, n=1, cutoff=0.5):
        return "see the README for the names there are"
    return nearest(name, valid) if valid else "see its documentation"
