"""How far an attack has moved a model's portions: the distance from a run to its clean twin."""

from __future__ import annotations

from typing import NamedTuple

import torch

from raysplit.analysis.runs.run import Run
from raysplit.errors import RunError
from raysplit.scenario.layout import Layout


class Drift(NamedTuple):
    """Of one portion's parameters W, Euclidean: ``from_clean`` ‖W − W_clean‖; ``from_start`` ‖W − W_0‖ and
    ``clean_from_start`` ‖W_clean − W_0‖, W_0 the untrained ones of the run and of its twin."""

    from_clean: float
    from_start: float
    clean_from_start: float


def portion_drift(run: Run, clean: Run) -> dict[str, Drift]:
    """``client`` and ``server`` portion after a run's newest checkpoint, against those of ``clean``, the same scenario
    without the attack. Raises ``RunError`` where the two have other networks, seeds or rounds, or clients keep portions
    of their own."""
    one, other = run.trained(), clean.trained()
    layout, start = Layout(one.scenario), Layout(one.scenario).initial()
    twin = Layout(other.scenario).initial()
    same = start.client.shape == twin.client.shape and start.server.shape == twin.server.shape
    if not same or not (start.client.equal(twin.client) and start.server.equal(twin.server)):
        raise RunError(f"{run.path} and {clean.path} began with other weights; compare runs of one network and seed")
    if one.state.round != other.state.round:
        raise RunError(
            f"{run.path} is at round {one.state.round} and {clean.path} at {other.state.round}; compare them at one round"
        )
    if one.personal or other.personal:
        raise RunError(f"the clients of {run.path} keep portions of their own, so there is no one client portion")

    def drift(portion: torch.Tensor, clean: torch.Tensor, start: torch.Tensor, parameters: int) -> Drift:
        w, c, s = (vector[:parameters].double() for vector in (portion, clean, start))
        return Drift(float((w - c).norm()), float((w - s).norm()), float((c - s).norm()))

    return {
        "client": drift(one.state.client, other.state.client, start.client, layout.client.parameters),
        "server": drift(one.state.server, other.state.server, start.server, layout.server.parameters),
    }
