"""A topology's parties as one site group: one host plays all of them, step by step, and counts what crosses between
them."""

from __future__ import annotations

import torch

from raysplit.channels.channel import Channel
from raysplit.channels.hooks import PartyEnd
from raysplit.channels.message import Score, StepAddress
from raysplit.models.network import ModelSpec
from raysplit.protocols.joint import first_cut
from raysplit.protocols.topology import Topology
from raysplit.training.client_side import Batch, HostShare
from raysplit.training.failures import failure_of
from raysplit.training.parties import ClientSlot, ServerSlot
from raysplit.training.sites.extended import extended_step
from raysplit.training.sites.multi_task import multi_task_step
from raysplit.training.sites.send import Send
from raysplit.training.sites.vertical import vertical_step


def play_site(
    share: HostShare, topology: Topology, spec: ModelSpec, server: ServerSlot, server_end: PartyEnd, batch: Batch
) -> None:
    """Every step of the site group at ``share``'s one position; ``server`` holds its portion already. ``spec``: the
    scenario's model."""
    ends = {"clients": share.end, "main_server": server_end}
    for position in share.positions:
        id = int(share.plan.clients[position])
        try:
            client = share.slot_pool.acquire(position)
            for step in range(int(share.plan.steps[position])):
                address = StepAddress(share.plan.round, id, step, position)

                def send(
                    channel: Channel,
                    tensor: torch.Tensor,
                    labels: torch.Tensor | None,
                    address: StepAddress = address,
                ) -> torch.Tensor:
                    sent = ends[channel.sender].sends(address.message(channel, tensor, labels))
                    return ends[channel.receiver].receives(sent).tensor

                x, y = batch(position, step)
                for slot in (client, server):
                    slot.begin(share.plan.seed, share.plan.round, id, step)
                score = _step(topology, spec, client, server, x, y, send)
                if share.plan.server_state == "each_batch":
                    server.forget()
                share.record(position).add(score.loss, score.correct, len(y))
            share.finish(position)
        except Exception as error:
            raise failure_of(share.plan.round, id, error) from error


def _step(
    topology: Topology,
    spec: ModelSpec,
    client: ClientSlot,
    server: ServerSlot,
    x: torch.Tensor,
    y: torch.Tensor,
    send: Send,
) -> Score:
    match topology.kind:
        case "vertical":
            return vertical_step(client, server, x, y, send)
        case "extended":
            return extended_step(client, server, first_cut(spec), x, y, send)
        case "multi_task":
            return multi_task_step(client, server, topology, x, y, send)
        case "pair":
            raise AssertionError("a client and a server are no site group")
