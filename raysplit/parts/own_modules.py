"""Scenario files as modules, and the modules beside them, which they import as a script would.

``from nets import make`` finds ``nets.py`` beside the scenario file, but never hides what is installed. The module is
``raysplit_scenario_<digits>.nets``, a submodule of the scenario file's, and only the files of one scenario see it as
``nets``: neither ``sys.path`` nor the name ``nets`` in ``sys.modules`` is touched, so scenario files with different
``nets.py`` do not mix, and to send a scenario file's module by value sends those beside it too. A file is read once and
its text kept, so what is written into the run folder is what ran.
"""

from __future__ import annotations

import builtins
import functools
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from raysplit.parts.ownership import OF_RAYSPLIT, SCENARIO_MODULE, is_own_module, is_standard, library_folders

_STAY = ("__builtins__", "__loader__", "__spec__", "__cached__")
"""What a module that is sent leaves behind."""


class OwnModule(ModuleType):
    """A module of the user's own; it is sent with all that is in it, as its file need not be where it arrives."""

    def __reduce__(self) -> tuple[Callable[[str], OwnModule], tuple[str], dict[str, Any]]:
        return OwnModule, (self.__name__,), {name: value for name, value in vars(self).items() if name not in _STAY}


class OwnLoader:
    """Loads one file, without bytecode beside it: that could be stale for a file changed within a second."""

    def __init__(self, file: Path | None) -> None:
        self.file = file  # None: a folder without __init__.py
        self.data = b""

    def create_module(self, spec: ModuleSpec) -> OwnModule:
        return OwnModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        if self.file is None:
            return
        self.data = self.file.read_bytes()
        code: CodeType = compile(self.data, str(self.file), "exec", dont_inherit=True)
        vars(module)["__builtins__"] = _builtins(module.__name__.partition(".")[0])
        exec(code, vars(module))

    def get_source(self, name: str) -> str:
        """The text as it was loaded."""
        return importlib.util.decode_source(self.data)


class OwnFinder:
    """Finds the modules beside scenario files, by their full names alone."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if path is None or not name.startswith(SCENARIO_MODULE):
            return None
        tail = name.rpartition(".")[2]
        for folder in map(Path, path):
            for file in (folder / tail / "__init__.py", folder / f"{tail}.py"):
                if file.is_file():
                    inside = [str(file.parent)] if file.stem == "__init__" else None
                    return _spec(name, file, inside)
            if (folder / tail).is_dir():
                return _spec(name, None, [str(folder / tail)])
        return None


def load(path: Path, folder: Path | None = None) -> OwnModule:
    """Run the file at ``path`` as a module; the modules that it imports are looked for in ``folder``, by default its
    own.

    Loading a file again loads it and all of them anew. Raises whatever the file raises.
    """
    if OwnFinder not in sys.meta_path:
        sys.meta_path.insert(0, OwnFinder)
    folder = path.resolve().parent if folder is None else folder.resolve()
    marks = hashlib.sha256(b"\0".join([path.read_bytes(), bytes(path.resolve()), bytes(folder)]))
    name = SCENARIO_MODULE + marks.hexdigest()[:12]
    for loaded in [*_beside(name)]:
        del sys.modules[loaded.__name__]
    spec = _spec(name, path, [str(folder)])
    module = importlib.util.module_from_spec(spec)
    assert isinstance(module, OwnModule) and isinstance(spec.loader, OwnLoader)
    module.__file__ = str(path.resolve())
    sys.modules[name] = module  # dataclasses and inspect look their module up here
    spec.loader.exec_module(module)
    return module


def helper_name(name: str, importer: Mapping[str, Any]) -> str | None:
    """The full name of the module that ``import name`` means in a file with the global names ``importer``, where it is
    one beside a scenario file; else None."""
    root = str(importer.get("__name__", "")).partition(".")[0]
    head = name.partition(".")[0]
    if name.startswith(SCENARIO_MODULE):
        return name
    if not root.startswith(SCENARIO_MODULE) or root not in sys.modules or not head:
        return None
    there = OwnFinder.find_spec(f"{root}.{head}", sys.modules[root].__path__)
    return f"{root}.{name}" if there is not None and not _installed(head) else None


def own_modules(module: ModuleType) -> list[ModuleType]:
    """A scenario file's module and all others of the user's own that it leads to, packages included, by name."""
    root = module.__name__.partition(".")[0]
    found = {loaded.__name__: loaded for loaded in _beside(root)} | {module.__name__: module}
    waiting = list(found.values())
    while waiting:
        for name in _led_to(waiting.pop()):
            parts = name.split(".")
            for whole in (".".join(parts[:length]) for length in range(1, len(parts) + 1)):
                if whole not in found and whole in sys.modules:
                    found[whole] = sys.modules[whole]
                    waiting.append(found[whole])
    return [found[name] for name in sorted(found)]


def own_files(module: ModuleType) -> dict[str, bytes]:
    """The text of every module that ``own_modules`` gives, as it was loaded, by its path in a run folder."""
    files: dict[str, bytes] = {}
    for own in own_modules(module):
        file, loader = getattr(own, "__file__", None), getattr(own, "__loader__", None)
        if own is module:
            place = "scenario.py"
        else:
            name = own.__name__.removeprefix(module.__name__ + ".")
            place = "modules/" + name.replace(".", "/") + ("/__init__.py" if hasattr(own, "__path__") else ".py")
        if file is not None and file.endswith(".py"):
            files[place] = loader.data if isinstance(loader, OwnLoader) else Path(file).read_bytes()
    return files


def _spec(name: str, file: Path | None, inside: list[str] | None) -> ModuleSpec:
    spec = ModuleSpec(name, OwnLoader(file), origin=None if file is None else str(file), is_package=inside is not None)  # type: ignore[arg-type]
    spec.has_location = file is not None
    if inside is not None:
        spec.submodule_search_locations = inside
    return spec


def _beside(root: str) -> Iterator[ModuleType]:
    """The loaded modules of one scenario file."""
    for name, module in list(sys.modules.items()):
        if name == root or name.startswith(root + "."):
            yield module


def _led_to(module: ModuleType) -> Iterator[str]:
    """The own modules whose classes, functions or selves a module has among its global names."""
    for value in vars(module).values():
        name = value.__name__ if isinstance(value, ModuleType) else None
        if isinstance(value, type | FunctionType):
            name = value.__module__
        if name is not None and name != "__main__" and name in sys.modules and is_own_module(name):
            yield name


def _builtins(root: str) -> dict[str, Any]:
    """The built-in names of a scenario's files, whose ``import`` looks beside the scenario file too."""

    def import_beside(
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        full = helper_name(name, {"__name__": root}) if level == 0 else None
        if full is None:
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        module = importlib.import_module(full)
        if not fromlist:
            return sys.modules[f"{root}.{name.partition('.')[0]}"]
        wanted = [*getattr(module, "__all__", ())] if "*" in fromlist else fromlist
        for item in wanted:
            if not hasattr(module, item) and OwnFinder.find_spec(f"{full}.{item}", getattr(module, "__path__", ())):
                importlib.import_module(f"{full}.{item}")
        return module

    return {**vars(builtins), "__import__": import_beside}


@functools.lru_cache(maxsize=1024)
def _installed(head: str) -> bool:
    """Whether a top-level name is an installed library's."""
    if is_standard(head) or head in OF_RAYSPLIT or PathFinder.find_spec(head, library_folders()) is not None:
        return True
    editable = [finder for finder in sys.meta_path if getattr(finder, "__module__", "").startswith("__editable__")]
    return any(finder.find_spec(head, None) is not None for finder in editable)
