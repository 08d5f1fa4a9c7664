"""Whose code is it: the user's own, or a library's that its name identifies.

A library is RaySplit itself, the standard library and whatever is installed in a site-packages folder. All else is the
user's own: scenario files, modules beside them or on PYTHONPATH, packages installed in editable mode, ``__main__``.
"""

from __future__ import annotations

import functools
import os
import re
import site
import sys
import sysconfig
from collections.abc import Mapping
from typing import Any

OF_RAYSPLIT = ("raysplit", "data_prep")
"""The packages that come with RaySplit."""
_INSTALLED = {"site-packages", "dist-packages"}


def is_own_module(name: str) -> bool:
    """Whether the module of that name is the user's own; one that is not imported is (code made while running)."""
    module = sys.modules.get(name)
    return is_own_namespace({"__name__": name} if module is None else vars(module))


def is_own_namespace(names: Mapping[str, Any]) -> bool:
    """As ``is_own_module``, for the global names of a module or function."""
    name = str(names.get("__name__", ""))
    if name == "__main__":
        return True
    head = name.partition(".")[0]
    if head in OF_RAYSPLIT or is_standard(head):
        return False
    file = names.get("__file__") or next(iter(names.get("__path__", ())), None)
    return file is None or not _in_library(str(file))


def is_raysplits(thing: object) -> bool:
    """Whether an object is of a class that comes with RaySplit, whose answers need no check."""
    return type(thing).__module__.partition(".")[0] in OF_RAYSPLIT


def is_standard(head: str) -> bool:
    """Whether a top-level name is the standard library's."""
    return head in sys.stdlib_module_names or head in sys.builtin_module_names


@functools.lru_cache(maxsize=1)
def library_folders() -> tuple[str, ...]:
    """The folders of the standard library and of installed packages."""
    standard = [sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")]
    found = [*standard, *site.getsitepackages(), site.getusersitepackages()]
    return tuple(dict.fromkeys(os.path.realpath(folder) for folder in found if folder))


@functools.lru_cache(maxsize=4096)
def _in_library(file: str) -> bool:
    real = os.path.realpath(file)
    if _INSTALLED & {*real.split(os.sep), *file.split(os.sep)}:
        return True
    return any(real.startswith(folder + os.sep) for folder in library_folders())


SCENARIO_MODULE = "raysplit_scenario_"
"""What the name of a loaded scenario file begins with; digits follow, which depend on where the file lies."""


def neutral(text: str, folder: str) -> str:
    """A text without what depends on where a scenario file lies: the name of its module, and the folder it is in."""
    if SCENARIO_MODULE in text:
        text = re.sub(SCENARIO_MODULE + "[0-9a-f]+", "scenario", text)
    if folder and (text == folder or text.startswith(folder + os.sep)):
        text = "<folder of the file>" + text[len(folder) :]
    return text
