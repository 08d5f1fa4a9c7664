"""Vertically partitioned data: Vepakomma et al. 2018, section 3; a configuration of SplitFed by Thapa et al. 2022,
"Variants"."""

from __future__ import annotations

from typing import ClassVar

from raysplit.parts.part import part, within
from raysplit.protocols.protocol import ClientState, ClientSync, Order, ServerPortion, ServerState, TrainingProtocol
from raysplit.protocols.topology import Along, Topology


@part
class VerticalSplit(TrainingProtocol):
    """M parties hold blocks of the same samples, cut along an image axis, each with a head of its own; one server has
    the labels.

    The heads are as the model's stages up to its cut, each with its own weights; their smashed data are concatenated
    along the axis that was cut, so the server portion is the model's own. The samples are the cohort's, pooled in
    cohort order: a sample's place there is its id, and all parties take the batch of the same ids, as after a private
    set intersection. No label leaves the server. ``weights`` never move. With one party it is centralised training,
    with the model cut; with M it is one network of M heads (tests/invariants).
    """

    parties: int = 2
    along: Along = "width"

    client_sync: ClassVar[ClientSync] = "one_party"
    server: ClassVar[ServerPortion] = "shared"
    order: ClassVar[Order] = "client_major"
    client_state: ClassVar[ClientState] = "per_client"
    server_state: ClassVar[ServerState] = "persistent"

    def __post_init__(self) -> None:
        within("VerticalSplit.parties", self.parties, 1)

    @property
    def topology(self) -> Topology:
        return Topology("vertical", self.parties, self.along)
