"""Who of the parties has something to learn, and so over which channels gradients go back."""

from __future__ import annotations

from raysplit.channels.channel import Channel
from raysplit.models.fixed import learns
from raysplit.models.network import ModelSpec, Portions
from raysplit.protocols.joint import first_cut
from raysplit.protocols.topology import Topology


def unanswered(portions: Portions, model: ModelSpec, topology: Topology) -> frozenset[Channel]:
    """The channels that carry no gradients, because whoever would get them has frozen parameters only: a frozen head
    computes forward and is sent nothing back. ``model``: the scenario's."""
    silent = set()
    if portions.body is not None and not learns([portions.head]):
        silent.add(Channel.CUT_GRADIENTS)
    if topology.kind == "extended" and not learns([portions.head[: first_cut(model)]]):
        silent.add(Channel.RELAY_GRADIENTS)
    return frozenset(silent)
