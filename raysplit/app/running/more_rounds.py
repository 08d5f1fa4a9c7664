"""A finished run that is to go on, with more rounds than it was asked for."""

from __future__ import annotations

from raysplit.app.running.runner import Fork, Job
from raysplit.errors import RunError
from raysplit.scenario.sets import apply_sets
from raysplit.simulation.shared_rounds import check_longer
from raysplit.storage.checkpoints import is_whole
from raysplit.storage.lock import writer_of
from raysplit.storage.run_folder import RunFolder, folder_for, origin_of
from raysplit.storage.stored_scenario import stored_scenario

_SET = "training.rounds="


def job_with_more_rounds(folder: RunFolder, rounds: int, keep_state: bool = False) -> Job:
    """The job of a run of ``rounds`` rounds that takes all of those in ``folder`` over; it has the bits of a run that
    was asked for ``rounds`` from the start.

    The number of rounds is part of a scenario's hash, so the longer run has a folder of its own beside this one, which
    stays as it is. Raises ``RunError`` where the run is missing, has not finished, is being written, or has kept its
    model alone; ``ScenarioError`` where its first rounds would be others.
    """
    if not folder.path.is_dir():
        raise RunError(f"there is no run folder {folder.path}")
    origin, state = origin_of(folder), folder.state()
    writer = writer_of(folder.path)
    if writer is not None:
        raise RunError(f"{folder.path} is being written by {writer}; wait for it or stop it first")
    if state.get("status") == "diverged":
        raise RunError(f"{folder.path} diverged in round {state.get('rounds')}, as it would with more rounds")
    if state.get("status") != "finished":
        raise RunError(
            f"{folder.path} has not finished, so it has no rounds to add to; end it first with 'raysplit resume "
            f"{folder.path}'"
        )
    scenario, module = stored_scenario(folder)
    check_longer(scenario, rounds)
    fork = Fork(folder, scenario.training.rounds)
    if not is_whole(fork.checkpoint):
        raise RunError(
            f"{folder.path} kept its model alone when it finished, not the optimiser states and the like that round "
            f"{fork.rounds + 1} needs; run the scenario with --set {_SET}{rounds}, and with --keep-state if it may "
            "have to go on again"
        )
    sets = [*(text for text in origin["set"] if not text.startswith(_SET)), f"{_SET}{rounds}"]
    longer = apply_sets(scenario, sets[-1:])
    target = folder_for(longer, folder.path.parent)
    about = {"file": origin["file"], "scenario": origin["scenario"], "set": sets}
    return Job(longer, module, folder.source, about, target, (fork,), keep_state=keep_state)
