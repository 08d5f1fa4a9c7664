"""A protocol is a handful of answers; everything else is shared (docs/design.md, section 2).

Where client portions are averaged or handed over, what the server portion is, who holds the labels, in which order the
parties step, and finer answers with a default. They are plain values; the local step (``training/parties.py``), the
order of split steps (``split_steps.py``) and the round are common to all.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Literal

from raysplit.channels.channel import Channel
from raysplit.parts.contract import answer, contract
from raysplit.protocols.as_published import AS_WRITTEN, Published
from raysplit.protocols.requirements import Requirement
from raysplit.protocols.topology import PAIR, Topology

if TYPE_CHECKING:
    from raysplit.memory.global_state import GlobalState
    from raysplit.memory.memory import Memory
    from raysplit.population.selection.cohort import Participation, ParticipationSampler
    from raysplit.protocols.outcome import Outcome
    from raysplit.protocols.plan import RoundPlan

ClientSync = Literal["one_party", "averaging", "handover", "personal"]
ServerPortion = Literal["none", "replicas", "shared"]
Order = Literal["parallel", "client_major", "interleaved"]
ClientState = Literal["fresh", "per_client", "travels"]
ServerState = Literal["fresh", "persistent", "each_batch"]
ServerStep = Literal["split_step", "step", "round", "mean_gradients", "server_first"]
Synchrony = Literal["synchronous", "loss_drop", "buffered"]
Handover = Literal["central", "peer_to_peer"]
Ring = Literal["random", "fixed"]
Accumulate = Literal["mean", "sum"]


@contract("a protocol")
class TrainingProtocol:
    """What every protocol answers. A protocol is a frozen part that derives from it.

    Five answers have no default: ``client_sync``, ``server``, ``order``, ``client_state`` and ``server_state``. A name
    that is nearly one of these answers, and none, is refused.
    """

    @answer
    @abstractmethod
    def client_sync(self) -> ClientSync:
        """How client portions are synchronised: in one party, by averaging at the fed server, by hand-over, or never
        (``personal``)."""

    @answer
    @abstractmethod
    def server(self) -> ServerPortion:
        """The server portion: none (the model is not cut), one replica a client, or one that all share."""

    @answer
    @abstractmethod
    def order(self) -> Order:
        """``parallel``: clients do not touch each other; else how they alternate at a shared server portion."""

    @answer
    @abstractmethod
    def client_state(self) -> ClientState:
        """The client optimiser's state when a client begins a round, unless ``Training.client_state`` says
        otherwise."""

    @answer
    @abstractmethod
    def server_state(self) -> ServerState:
        """The server optimiser's state when a round begins, unless ``Training.server_state`` says otherwise."""

    @answer
    def u_shaped(self) -> bool:
        """Whether labels and the last stages stay with the client."""
        return False

    @answer
    def handover(self) -> Handover:
        """With ``client_sync="handover"``: through a store (two hops) or straight to the next client (one)."""
        return "central"

    @answer
    def ring(self) -> Ring:
        """With ``order="client_major"``: the order of clients, random anew each round or that of the cohort."""
        return "random"

    @answer
    def server_step(self) -> ServerStep:
        """When one shared server portion steps, and on what.

        ``split_step``: after every split step. ``step``: once a step index, on the gradients of all its split steps at
        the same portion. ``round``: once a round, on the gradients of all its split steps. These answer every split
        step at once. The others wait until every client's batch of a step index has come: ``mean_gradients`` sends
        clients a common cut gradient, ``server_first`` trains the portion on all of the step's smashed data before it
        sends any.
        """
        return "split_step"

    @answer
    def accumulate(self) -> Accumulate:
        """With ``server_step="step"``: the mean over the union of the clients' batches, or the sum of their mean
        gradients."""
        return "mean"

    @answer
    def active_share(self) -> float:
        """With ``server_step="mean_gradients"``: the share of clients that get the mean of their cut gradients."""
        return 1.0

    @answer
    def lr_exponent(self) -> float:
        """With ``server_step="mean_gradients"``: the server learns at its rate times K to this power, K the cohort's
        size."""
        return 0.0

    @answer
    def server_epochs(self) -> int:
        """With ``server_step="server_first"``: how often the server goes over a step's smashed data."""
        return 1

    @answer
    def server_batch(self) -> int | None:
        """With ``server_step="server_first"``: samples of the server's own mini-batches; None: all at once."""
        return None

    @answer
    def synchrony(self) -> Synchrony:
        """Who waits for whom: everybody for the whole cohort, or as an asynchronous protocol has it."""
        return "synchronous"

    @answer
    def threshold(self) -> float | None:
        """With ``synchrony="loss_drop"``, where it must be given: nats by which a round's training loss must drop for
        client portions to move in the next."""
        return None

    @answer
    def buffer(self) -> int | None:
        """With ``synchrony="buffered"``, where it must be given: how many client portions the fed server waits for."""
        return None

    @answer
    def published(self) -> Published:
        """What published code does differently from its paper."""
        return AS_WRITTEN

    @answer
    def topology(self) -> Topology:
        """Which parties there are beside a client and the main server."""
        return PAIR

    @answer
    def requires(self) -> tuple[Requirement, ...]:
        """What else must hold of a scenario with this protocol."""
        return ()

    @answer
    def waits(self) -> bool:
        """Whether the server answers only once every client's batch of a step index has come; follows from
        ``server_step``."""
        return self.server_step in ("mean_gradients", "server_first")

    @answer
    def channels(self) -> tuple[Channel, ...]:
        """The channels over which the parties talk, in the order in which a round uses them; follow from the other
        answers. A protocol with a channel of its own adds it."""
        averaging, split = self.client_sync == "averaging", self.server != "none"
        extended, u_shaped = self.topology.kind == "extended", split and self.u_shaped
        present = {
            Channel.WEIGHTS: averaging,
            Channel.UPDATES: averaging,
            Channel.RELAYED: extended,
            Channel.RELAY_GRADIENTS: extended,
            Channel.SMASHED: split,
            Channel.CUT_GRADIENTS: split,
            Channel.FEATURES: u_shaped,
            Channel.FEATURE_GRADIENTS: u_shaped,
            Channel.HANDOVER: self.client_sync == "handover",
            Channel.SERVER_UPDATES: self.server == "replicas" and self.client_sync != "one_party",
        }
        return tuple(channel for channel in Channel if present.get(channel, False))

    @answer
    def replicas_outlive_rounds(self) -> bool:
        """Whether server replicas are kept from round to round instead of averaged after each; follows from
        ``published``."""
        return self.server == "replicas" and self.published.replicas_meet == "all_collected"

    def participation(self, sampler: ParticipationSampler, round: int, memory: Memory) -> Participation:
        """Who takes part in a round (1-based): a fresh cohort, unless clients of earlier rounds are still under way."""
        return sampler.of(round)

    def plan(self, plan: RoundPlan, memory: Memory) -> RoundPlan:
        """The round's plan, in which everybody trains all of a local round, with what this protocol makes of it: which
        local steps each client takes (``plan.local_rounds``), in which order, with which weights."""
        return plan

    def after(self, plan: RoundPlan, outcome: Outcome, state: GlobalState) -> Memory:
        """What the protocol's own memory becomes by a round in which somebody trained. ``state``: with which the round
        began. What is returned is found by path in the next round's memory; an entry ``{}`` is forgotten."""
        return {}
