"""Reading a scenario file (plain Python); every mistake in it becomes one sentence.

A file defines ``scenario = Scenario(...)`` or ``scenarios = [...]``, or ``frontier = Frontier(...)``, whose scenarios are
then the file's, after those that it has besides. A user's own classes live in it too, or in modules beside it.
"""

from __future__ import annotations

import builtins
import difflib
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from raysplit.errors import ScenarioError, UserError, nearest_of
from raysplit.parts.own_modules import load
from raysplit.parts.ownership import SCENARIO_MODULE
from raysplit.scenario.frontier import Frontier
from raysplit.scenario.scenario import Scenario
from raysplit.scenario.wrong_call import wrong_call


def load_scenarios(path: Path, modules: Path | None = None) -> tuple[list[Scenario], ModuleType]:
    """The scenarios of a file and the module that they live in. Raises ``ScenarioError`` with file and line.

    ``modules``: the folder of the modules that the file imports; None: they lie beside it.
    """
    if not path.is_file():
        folder = path.parent if path.parent.is_dir() else Path()
        near = difflib.get_close_matches(path.name, [p.name for p in folder.glob("*.py")], n=1)
        hint = f"; did you mean {folder / near[0]}?" if near else ""
        raise ScenarioError(f"there is no scenario file {path}{hint}")
    module = _execute(path, modules)
    found = vars(module).get("scenarios")
    if found is None:
        found = vars(module).get("scenario")
    frontier = vars(module).get("frontier")
    of_frontier = frontier.scenarios if isinstance(frontier, Frontier) else []
    if found is None and not of_frontier:
        raise ScenarioError(f"{path} defines neither 'scenario' nor 'scenarios'; end it with scenario = Scenario(...)")
    scenarios = [] if found is None else [found] if isinstance(found, Scenario) else found
    if (
        not isinstance(scenarios, Sequence)
        or not (scenarios or of_frontier)
        or not all(isinstance(s, Scenario) for s in scenarios)
    ):
        raise ScenarioError(
            f"{path}: 'scenario' must be a Scenario and 'scenarios' a list of them, but it is {found!r:.80}"
        )
    scenarios = [*scenarios, *of_frontier]
    names = [scenario.name for scenario in scenarios]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ScenarioError(f"{path} has two scenarios named {twice!r}; give each its own name")
    return scenarios, module


def load_frontier(path: Path) -> Frontier:
    """The frontier of a file. Raises ``ScenarioError`` as ``load_scenarios``, and where it has none."""
    _, module = load_scenarios(path)
    frontier = vars(module).get("frontier")
    if not isinstance(frontier, Frontier):
        raise ScenarioError(f"{path} defines no 'frontier'; end it with frontier = Frontier(base=..., cuts=..., ...)")
    return frontier


def _execute(path: Path, modules: Path | None) -> ModuleType:
    if path.suffix != ".py":
        raise ScenarioError(f"{path} cannot be read as Python; a scenario file ends in .py")
    try:
        return load(path, modules)
    except UserError as error:
        raise type(error)(f"{_place(error, path)}: {error}") from error
    except SyntaxError as error:
        file = path if error.filename is None or Path(error.filename) == path else Path(error.filename).name
        where = f"{file}:{error.lineno}" if error.lineno else str(file)
        raise ScenarioError(f"{where} is not valid Python: {error.msg}") from error
    except SystemExit as error:
        raise ScenarioError(
            f"{_place(error, path)} ends the program; a scenario file only defines scenarios"
        ) from error
    except Exception as error:
        raise ScenarioError(f"{_place(error, path)}: {_plainly(error)}") from error


def _place(error: BaseException, path: Path) -> str:
    """File and line of the user's own where an error arose: in the scenario file, or in a module that it imports."""
    place = f"{path}:0"
    for frame, line in traceback.walk_tb(error.__traceback__):
        name, file = frame.f_globals.get("__name__", ""), Path(frame.f_code.co_filename)
        if name.startswith(SCENARIO_MODULE):
            place = f"{file if file == path else file.name}:{line}"
    return place


def _plainly(error: Exception) -> str:
    """A Python exception raised by a scenario file, in the user's words."""
    text = re.sub(SCENARIO_MODULE + r"[0-9a-f]+\.", "", str(error))
    if isinstance(error, ImportError) and error.name and "cannot import name" in text:
        wanted = re.search(r"cannot import name '(\w+)'", text)
        module = sys.modules.get(error.name)
        if wanted and module is not None:
            public = [name for name in dir(module) if not name.startswith("_")]
            name = re.sub(SCENARIO_MODULE + r"[0-9a-f]+\.", "", error.name)
            return f"{name} has no {wanted.group(1)!r}; {nearest_of(wanted.group(1), public)}"
    if isinstance(error, NameError) and (named := re.search(r"name '(\w+)' is not defined", text)):
        import raysplit

        name = named.group(1)
        if name in raysplit.__all__:
            return f"{name!r} is not imported; add 'from raysplit import {name}'"
        return f"{name!r} is not defined here; {nearest_of(name, [*raysplit.__all__, *dir(builtins)])}"
    if isinstance(error, TypeError):
        import raysplit

        sentence = wrong_call(text, lambda name: getattr(raysplit, name, None))
        if sentence is not None:
            return sentence
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
