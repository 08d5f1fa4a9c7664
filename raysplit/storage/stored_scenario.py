"""The scenario of a run folder, built again from the scenario file that was copied into it."""

from __future__ import annotations

from types import ModuleType

from raysplit.errors import RunError
from raysplit.scenario.file import load_scenarios
from raysplit.scenario.scenario import Scenario
from raysplit.scenario.sets import apply_sets
from raysplit.storage.run_folder import RunFolder, origin_of


def stored_scenario(folder: RunFolder) -> tuple[Scenario, ModuleType]:
    """The scenario that a run was started with, and the module that its classes live in; executes the stored file.

    Raises ``RunError`` where the folder is no run, has no scenario file because the run was started from Python, or has
    a file that no longer gives that scenario.
    """
    origin = origin_of(folder)
    if origin.get("file") is None:
        raise RunError(
            f"{folder.path} was started by raysplit.run and holds no scenario file; call raysplit.run with the same "
            "scenario again, which goes on where it stands"
        )
    scenarios, module = load_scenarios(folder.source, folder.modules if folder.modules.is_dir() else None)
    original = next((scenario for scenario in scenarios if scenario.name == origin["scenario"]), None)
    if original is None:
        raise RunError(
            f"{folder.source} no longer defines the scenario {origin['scenario']!r} of this run; restore the file"
        )
    scenario = apply_sets(original, origin["set"], module)
    if scenario.hash != origin["hash"]:
        raise RunError(
            f"{folder.source} now gives scenario {scenario.hash}, but this run began as {origin['hash']}; restore the "
            "file or run it anew"
        )
    return scenario, module
