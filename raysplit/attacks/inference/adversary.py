"""Who infers: a set of colluding parties, the channels that they hold together, and what they know besides."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, get_args

from raysplit.channels.channel import Channel
from raysplit.errors import ScenarioError
from raysplit.parts.part import part
from raysplit.protocols.protocol import TrainingProtocol

PartyName = Literal["main_server", "fed_server", "client"]
Fact = Literal[
    "architecture",
    "client_weights",
    "server_weights",
    "auxiliary_data",
    "auxiliary_inputs",
    "queries",
    "known_labels",
    "tail_gradients",
    "hijack",
    "generator",
    "training_settings",
    "candidates",
    "server_architecture",
    "server_queries",
]
"""What may be known of a target: the client portion's layers; its weights; the server portion's weights; samples with
labels that are not the victims'; such samples without labels; answers of the client portion to chosen inputs; the
labels of a few of the observed samples; the weight gradients of the client's tail, step by step; the inverse that a hijacking in training has
learned; the generator that a malicious client has trained; with which learning rate, batch sizes and local epochs
clients train; the samples, with labels, of which is asked whether they were trained on; the server portion's layers;
the main server's cut gradients of chosen smashed data with chosen labels."""
ORACLES: frozenset[Fact] = frozenset({"tail_gradients"})
"""What no set of parties learns from the protocol about everybody: an attack that needs it shows what a message that is
never sent would give away."""
LEARNED_BY: Mapping[Fact, PartyName] = MappingProxyType({"hijack": "main_server", "generator": "client"})
"""What an attack in training leaves with whom. It cannot be assumed: there is nothing to hand out without it."""

_IMPLIED: dict[Fact, tuple[Fact, ...]] = {
    "client_weights": ("architecture", "queries"),
    "auxiliary_data": ("auxiliary_inputs",),
}
"""Who has a client portion can run it, and who has labelled samples has samples."""


@part
class Adversary:
    """Parties that put together what they hold. ``parties``: any of the main server, the fed server and one client.
    ``knows``: facts that are assumed, beyond those that follow from the parties.

    **Collusion is a union.** The main server holds the messages between it and every client, and its own portion. Where
    portions are averaged or handed over, one client, or the fed server, holds the client portion: together with it the
    main server inverts everybody's smashed data with the true weights.
    """

    parties: tuple[PartyName, ...] = ("main_server",)
    knows: tuple[Fact, ...] = ()

    def __post_init__(self) -> None:
        if not self.parties:
            raise ScenarioError(f"Adversary.parties is empty; name any of {', '.join(get_args(PartyName))}")

    def channels(self, protocol: TrainingProtocol) -> frozenset[Channel]:
        """The protocol's channels on which one of the parties sends or receives everybody's messages; a client sends
        and receives its own only, which are no other client's."""
        ends = {party for party in self.parties if party != "client"}
        return frozenset(c for c in protocol.channels if c.sender in ends or c.receiver in ends)

    def facts(self, protocol: TrainingProtocol) -> frozenset[Fact]:
        """Everything known: what is assumed, what the parties hold, and what that implies."""
        known: set[Fact] = set(self.knows)
        if "main_server" in self.parties and protocol.server != "none":
            known.add("server_weights")
        holders = {"averaging": ("client", "fed_server"), "handover": ("client",)}.get(protocol.client_sync, ())
        if any(party in self.parties for party in holders):
            known.add("client_weights")
        if "client" in self.parties:
            known.update(("architecture", "server_queries"))  # a client may send what it likes
        if "client" in self.parties or "fed_server" in self.parties:
            known.add("training_settings")
        if protocol.server == "none" and "client_weights" in known:
            known.add("server_weights")  # the client portion is the whole model, so there is nothing behind it to know
        for fact in tuple(known):
            known.update(_IMPLIED.get(fact, ()))
        return frozenset(known)
