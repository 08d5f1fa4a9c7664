"""A host: one process that plays clients, and the main server beside them or apart. Plain Python; Ray only wraps it."""

from __future__ import annotations

import copy
import resource
from collections.abc import Callable, Sequence

import numpy as np
import torch

from raysplit.attacks.data.carried_out import Liar, Poisoning, measured, poison
from raysplit.attacks.smashed.tampering import Party, Tampering, tampering_of
from raysplit.channels import Channel, Tap
from raysplit.engine.engine import ClientScores, RoundStart
from raysplit.engine.examination import EVALUATION_BATCH, Examination
from raysplit.models.joint import joint
from raysplit.models.network import Portions, build, cut
from raysplit.population.population import Population, Samples
from raysplit.protocols.as_published import published
from raysplit.protocols.client_side import (
    ClientStart,
    DirectLink,
    HostShare,
    ServerLink,
    train_unsplit,
    visit_server,
)
from raysplit.protocols.collected import CollectedReplicas
from raysplit.protocols.lying_server import LyingServer
from raysplit.protocols.main_server import open_server
from raysplit.protocols.parties import ClientSeat, ServerSeat
from raysplit.protocols.plan import Outcome, RoundPlan
from raysplit.protocols.protocol import waits
from raysplit.protocols.seating import Away
from raysplit.protocols.server_side import MainServerSide, ServerSide
from raysplit.protocols.topologies.site import play_site
from raysplit.protocols.topologies.topology import topology_of
from raysplit.protocols.visits import Visit, batch_indices, parallel_visits
from raysplit.protocols.watched_server import Watch, WatchedServer
from raysplit.scenario import Scenario
from raysplit.threads import pin_threads


class Host:
    """Holds an open population and as many seats (copies of a portion) as it has steps under way; clients hold nothing."""

    def __init__(self, scenario: Scenario, device: str = "cpu", taps: tuple[Tap, ...] = ()) -> None:
        pin_threads()
        self.scenario = scenario
        self.device = torch.device(device)
        self.taps = taps
        self.population: Population = scenario.population.open()
        self._model = joint(scenario.model, scenario.protocol)
        network = build(self._model, scenario.seed, scenario.training.dtype).to(self.device)
        self._network = network
        self._client_seats: list[ClientSeat] = []
        self._server_seats: list[ServerSeat] = []
        self._examiner: Host | None = None
        self._liar: ClientSeat | None = None
        self._share_now: HostShare | None = None
        self._aims = measured(scenario.evaluation.success_of or scenario.attack)
        self._cache: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def _portions(self) -> Portions:
        protocol = self.scenario.protocol
        return cut(copy.deepcopy(self._network), self._model, protocol.server != "none", protocol.u_shaped)

    def client_seats(self, count: int) -> list[ClientSeat]:
        while len(self._client_seats) < count:
            self._client_seats.append(ClientSeat(self._portions(), self.scenario.training))
        return self._client_seats[:count]

    def server_seats(self, count: int) -> list[ServerSeat]:
        while len(self._server_seats) < count:
            self._server_seats.append(ServerSeat(self._portions(), self.scenario.training))
        return self._server_seats[:count]

    def watch(self, start: RoundStart) -> Watch | None:
        """The scenario's detection as this round begins; None: nobody is watched."""
        detection = self.scenario.detection
        if detection is None or start.detection is None:
            return None
        return Watch(detection, start.detection, self.scenario.model.classes)

    def initial(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The untrained client and server portions, flat."""
        client = self.client_seats(1)[0].flat.vector.detach().cpu().clone()
        if self.scenario.protocol.server == "none":
            return client, torch.zeros(0, dtype=client.dtype)
        return client, self.server_seats(1)[0].flat.vector.detach().cpu().clone()

    def train(self, plan: RoundPlan, groups: Sequence[int], start: RoundStart, away: Away | None = None) -> Outcome:
        """Play ``groups`` of a round with the main server, if there is one, in this process (``colocated``).

        ``away``: where finished client portions go, if not into the outcome.
        """
        protocol = self.scenario.protocol
        ahead = self._ahead(plan, groups, 1)
        server: MainServerSide | None = None
        tests: dict[int, ClientScores] = {}

        def test(position: int, portion: torch.Tensor) -> None:
            standing = server.standing() if isinstance(server, ServerSide) else torch.zeros(0)
            tests[position] = self._examine(int(plan.clients[position]), portion, standing)

        tested = published(protocol).tested == "in_training"
        share = self._share(plan, groups, start, ahead, trained=test if tested else None, away=away)
        share.outcome.tests = tests
        if protocol.server == "none":
            train_unsplit(share, lambda p, step: self._batch(plan, p, step))
            return self._done(share)
        if topology_of(protocol).kind != "pair":
            return self._train_site(plan, share, start)
        vector = start.server.to(self.device)
        collected = None
        if protocol.server == "replicas" and published(protocol).replicas_meet == "all_collected":
            collected = CollectedReplicas(plan.clients, self.population.info.clients, vector, start.carried)
        seats = self.server_seats(1)
        watch = self.watch(start)
        server = open_server(protocol, plan, seats, vector, start.server_state, list(groups), collected, watch)
        visits = self.visits(plan, groups, ahead)
        lies = self.tampering(plan, "main_server")
        link = DirectLink(server if lies is None else LyingServer(server, plan, lies))
        visit_server(share, visits, lambda p, step: self._batch(plan, p, step), link, ahead)
        outcome = self._done(share)
        if lies is not None:
            outcome.lies.update(lies.records)
        if protocol.server == "shared":
            outcome.server_vector, outcome.server_state = server.shared_result()
            take_detection(outcome, server)
        elif collected is not None:
            outcome.server_vector, outcome.carried = collected.average, collected.carried()
            count_replicas(outcome, len(share.positions), start.server)
        else:
            outcome.server_sums, outcome.server_rows = server.replicas()
            count_replicas(outcome, sum(p < plan.reporting for p in share.positions), start.server)
        return outcome

    def _train_site(self, plan: RoundPlan, share: HostShare, start: RoundStart) -> Outcome:
        """Parties other than clients and a server: this host plays them all."""
        server = self.server_seats(1)[0]
        kept = start.server_state if plan.server_state == "persistent" else None
        server.enter(start.server.to(self.device), kept, plan.server_lr)
        scenario = self.scenario
        play_site(
            share, topology_of(scenario.protocol), scenario.model, server, lambda p, step: self._batch(plan, p, step)
        )
        outcome = self._done(share)
        outcome.server_vector, outcome.server_state = server.flat.vector.clone(), server.state()
        return outcome

    def visit(
        self,
        plan: RoundPlan,
        groups: Sequence[int],
        start: RoundStart,
        link: ServerLink,
        ahead: int,
        away: Away | None = None,
    ) -> Outcome:
        """Play ``groups`` of a round against a main server at the other end of ``link`` (``pooled``)."""
        ahead = self._ahead(plan, groups, ahead)
        share = self._share(plan, groups, start, seats=ahead, away=away)
        visits = self.visits(plan, groups, ahead)
        visit_server(share, visits, lambda p, step: self._batch(plan, p, step), link, ahead)
        return self._done(share)

    def visits(self, plan: RoundPlan, groups: Sequence[int], ahead: int) -> list[Visit]:
        """The visits of these groups' clients to the main server, in the order in which this host makes them."""
        mine = sorted(p for group in groups for p in plan.groups[group])
        protocol = self.scenario.protocol
        if protocol.server == "replicas" and protocol.order == "parallel":
            return parallel_visits(mine, plan.steps, ahead)
        members = set(mine)
        return [visit for visit in plan.visits(protocol) if visit.position in members]

    def _ahead(self, plan: RoundPlan, groups: Sequence[int], ahead: int) -> int:
        """Steps under way: all of this host's clients where the server waits for everybody, or it would wait for ever."""
        return sum(len(plan.groups[group]) for group in groups) if waits(self.scenario.protocol) else ahead

    def _examine(self, client: int, portion: torch.Tensor, server: torch.Tensor) -> ClientScores:
        """A client's test set judged by portions that stand now, without touching the seats that train."""
        if self._examiner is None:
            self._examiner = Host(self.scenario, str(self.device))
        return self._examiner.evaluate(np.array([client]), portion, server)

    def _share(
        self,
        plan: RoundPlan,
        groups: Sequence[int],
        start: RoundStart,
        seats: int,
        trained: Callable[[int, torch.Tensor], None] | None = None,
        away: Away | None = None,
    ) -> HostShare:
        self._cache.clear()
        begin = ClientStart(
            start.client.to(self.device), start.client_states, start.client_portions, start.parked, start.parked_states
        )
        protocol, seated, lies = self.scenario.protocol, self.client_seats(seats), self.tampering(plan, "clients")
        self._share_now = HostShare(protocol, plan, groups, seated, begin, self.taps, trained, away, lies)
        return self._share_now

    def tampering(self, plan: RoundPlan, party: Party) -> Tampering | None:
        """What a party does to the messages that it sends in a round; None where it is honest."""
        scenario = self.scenario
        return tampering_of(scenario.attack, party, plan.seed, plan.round, scenario.model.classes, plan.liars)

    def _done(self, share: HostShare) -> Outcome:
        self._cache.clear()
        self._share_now = None
        return share.close()

    def _batch(self, plan: RoundPlan, position: int, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        if position not in self._cache:
            self._cache[position] = self._samples(plan, position)
        x, y = self._cache[position]
        samples, size = int(plan.samples[position]), self.scenario.training.batch_size
        round = plan.batch_round(position)
        chosen = batch_indices(plan.seed, round, int(plan.clients[position]), step, samples, size)
        if step == plan.until(position) - 1:
            del self._cache[position]
        if chosen is not None:
            index = torch.from_numpy(chosen)
            x, y = x[index], y[index]
        return self._pixels(x), y.to(self.device)

    def _samples(self, plan: RoundPlan, position: int) -> Samples:
        if self.scenario.protocol.meeting != "one_party":
            return self._own(plan, position, int(plan.clients[position]))
        drawn = [self._own(plan, position, int(client)) for client in plan.cohort]
        return Samples(torch.cat([s.x for s in drawn]), torch.cat([s.y for s in drawn]))

    def _own(self, plan: RoundPlan, position: int, client: int) -> Samples:
        """What a client trains on: its training set, or what an attack made of it when the client drew its batches."""
        own = self.population.train(client)
        if client not in plan.liars:
            return own
        whole = self.scenario.protocol.server == "none"
        liar = Liar(client, plan.liars[client], plan.batch_round(position), lambda x: self._smashed(position, x), whole)
        made, done = poison(self.scenario.attack, own, liar, self.population.info.classes, plan.seed)
        if self._share_now is not None:
            record = self._share_now.record(position).poisoned
            record.update({name: some.plus(record.get(name, Poisoning(0, 0, 0.0))) for name, some in done.items()})
        return made

    def _smashed(self, position: int, x: torch.Tensor) -> torch.Tensor:
        """What the portion that a client holds makes of stored samples: smashed data, or logits where it is the whole model."""
        assert self._share_now is not None
        if self._liar is None:  # a seat apart: those of the round may be under way
            self._liar = ClientSeat(self._portions(), self.scenario.training)
        self._liar.flat.vector.copy_(self._share_now.holds(position))
        self._liar.head.eval()
        with torch.no_grad():
            parts = [self._liar.head(self._pixels(some)) for some in torch.split(x, EVALUATION_BATCH)]
        return torch.cat(parts)

    def _pixels(self, x: torch.Tensor) -> torch.Tensor:
        """uint8 [B, C, H, W] → what ``Scenario.pixels`` asks for, in the training's precision, channels_last.

        float32 samples are numbers already and pass as they are (``check_population`` refuses pixels that ask for more).
        """
        if x.is_floating_point():
            return x.to(self.device, self.scenario.training.dtype).contiguous(memory_format=torch.channels_last)
        kind = self.scenario.pixels
        pixels = (x.bitwise_not() if kind == "inverted" else x).to(self.device, self.scenario.training.dtype)
        if kind != "bytes":
            pixels = pixels.div_(127.5).sub_(1) if kind == "centred" else pixels.div_(255)
        return pixels.contiguous(memory_format=torch.channels_last)

    def evaluate(
        self,
        clients: np.ndarray,
        client: torch.Tensor,
        server: torch.Tensor,
        portions: dict[int, torch.Tensor] | None = None,
    ) -> ClientScores:
        """The global model on the test sets of ``clients``, in large batches that ignore client boundaries.

        With ``portions`` (by client id) client by client, each with its own; who has none with ``client``.
        """
        client_seat = self.client_seats(1)[0]
        client_seat.flat.vector.copy_(client)
        stages = [client_seat.head]
        if len(server):
            server_seat = self.server_seats(1)[0]
            server_seat.flat.vector.copy_(server)
            stages.append(server_seat.body)
        if client_seat.tail is not None:
            stages.append(client_seat.tail)
        hold: Callable[[int], None] | None = None
        if portions is not None:

            def hold(owner: int) -> None:
                client_seat.flat.vector.copy_(portions.get(owner, client))

        sets = [self.population.test(int(c)) for c in clients]
        for stage in stages:
            stage.eval()
        examination = Examination(stages, self._pixels, hold)
        scores = examination.scores(clients, sets, self._aims, self.population.info.classes, self.scenario.seed)
        for stage in stages:
            stage.train()
        return scores


def count_replicas(outcome: Outcome, replicas: int, server: torch.Tensor) -> None:
    """Every replica of the server portion travels to the main server once a round (SplitFedV1)."""
    size = server.numel() * server.element_size()
    outcome.traffic[Channel.SERVER_UPDATES.value] = (replicas, replicas * size, 0)


def take_detection(outcome: Outcome, server: MainServerSide) -> None:
    """What detectors at a main server found and remember, where there are any."""
    if isinstance(server, WatchedServer):
        outcome.judged, outcome.detection = server.judged, server.remembered()


def peak_memory_bytes() -> int:
    """This process's peak resident memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
