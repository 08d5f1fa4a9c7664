"""A host: one process that plays clients, and the main server beside them or apart. Plain Python; Ray only wraps it."""

from __future__ import annotations

import copy
import resource
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from raysplit.attacks.data.poisoning import MaliciousClient, measured, poison
from raysplit.attacks.messages.tampering import Party, Tampering, tampering_of
from raysplit.channels.channel import Channel, Tap
from raysplit.engine.evaluator import EVALUATION_BATCH, Evaluator
from raysplit.memory.global_state import GlobalState
from raysplit.memory.memory import SERVER_DETECTION, SERVER_OPTIMIZER, SERVER_REPLICAS
from raysplit.models.network import Portions, build, cut
from raysplit.models.pixels import to_pixels
from raysplit.population.population import Population, Samples
from raysplit.protocols.as_published import published
from raysplit.protocols.joint import joint
from raysplit.protocols.outcome import ClientScores, Outcome, Poisoning
from raysplit.protocols.plan import RoundPlan
from raysplit.protocols.protocol import waits
from raysplit.protocols.split_steps import SplitStep, batch_indices, parallel_split_steps
from raysplit.protocols.topology import topology_of
from raysplit.scenario.scenario import Scenario
from raysplit.threads import pin_threads
from raysplit.training.client_side import (
    DirectLink,
    HostShare,
    ServerLink,
    play_split_steps,
    train_unsplit,
)
from raysplit.training.parties import ClientSlot, ServerSlot
from raysplit.training.servers.collected import CollectedReplicas
from raysplit.training.servers.lying_server import LyingServer
from raysplit.training.servers.main_server import open_server
from raysplit.training.servers.server_side import MainServerSide, ServerSide
from raysplit.training.servers.watched_server import Watch, WatchedServer
from raysplit.training.site import play_site
from raysplit.training.slot_pool import RowSink


class Host:
    """Holds an open population and as many seats (copies of a portion) as it has steps under way; clients hold
    nothing."""

    def __init__(self, scenario: Scenario, device: str = "cpu", taps: tuple[Tap, ...] = ()) -> None:
        pin_threads()
        self.scenario = scenario
        self.device = torch.device(device)
        self.taps = taps
        self.population: Population = scenario.population.open()
        self._model = joint(scenario.model, scenario.protocol)
        network = build(self._model, scenario.seed, scenario.training.dtype).to(self.device)
        self._network = network
        self._client_slots: list[ClientSlot] = []
        self._server_slots: list[ServerSlot] = []
        self._evaluation_host: Host | None = None
        self._malicious_slot: ClientSlot | None = None
        self._share_now: HostShare | None = None
        self._aims = measured(scenario.evaluation.success_of or scenario.attack)
        self._cache: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def _portions(self) -> Portions:
        protocol = self.scenario.protocol
        return cut(copy.deepcopy(self._network), self._model, protocol.server != "none", protocol.u_shaped)

    def client_slots(self, count: int) -> list[ClientSlot]:
        while len(self._client_slots) < count:
            self._client_slots.append(ClientSlot(self._portions(), self.scenario.training))
        return self._client_slots[:count]

    def server_slots(self, count: int) -> list[ServerSlot]:
        while len(self._server_slots) < count:
            self._server_slots.append(ServerSlot(self._portions(), self.scenario.training))
        return self._server_slots[:count]

    def watch(self, plan: RoundPlan, start: GlobalState) -> Watch | None:
        """The scenario's detection as this round begins; None: nobody is watched."""
        detection = self.scenario.detection
        if detection is None or not plan.detects:
            return None
        return Watch(detection, start.memory.get(SERVER_DETECTION, {}), self.scenario.model.classes)

    def initial(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The untrained client and server portions, flat."""
        client = self.client_slots(1)[0].flat.vector.detach().cpu().clone()
        if self.scenario.protocol.server == "none":
            return client, torch.zeros(0, dtype=client.dtype)
        return client, self.server_slots(1)[0].flat.vector.detach().cpu().clone()

    def train(
        self, plan: RoundPlan, groups: Sequence[int], start: GlobalState, row_sink: RowSink | None = None
    ) -> Outcome:
        """Play ``groups`` of a round with the main server, if there is one, in this process (``colocated``).

        ``row_sink``: where finished client portions go, if not into the outcome.
        """
        protocol = self.scenario.protocol
        ahead = self._ahead(plan, groups, 1)
        server: MainServerSide | None = None
        tests: dict[int, ClientScores] = {}

        def test(position: int, portion: torch.Tensor) -> None:
            standing = server.standing() if isinstance(server, ServerSide) else torch.zeros(0)
            tests[position] = self._evaluate_one(int(plan.clients[position]), portion, standing)

        tested = published(protocol).tested == "in_training"
        share = self._share(plan, groups, start, ahead, trained=test if tested else None, row_sink=row_sink)
        share.outcome.tests = tests
        if protocol.server == "none":
            train_unsplit(share, lambda p, step: self._batch(plan, p, step))
            return self._done(share)
        if topology_of(protocol).kind != "pair":
            return self._train_site(plan, share, start)
        vector = start.server.to(self.device)
        collected = None
        if protocol.server == "replicas" and published(protocol).replicas_meet == "all_collected":
            collected = CollectedReplicas(
                plan.clients, self.population.info.clients, vector, start.memory.get(SERVER_REPLICAS, {})
            )
        slots = self.server_slots(1)
        watch = self.watch(plan, start)
        server = open_server(
            protocol, plan, slots, vector, start.memory.get(SERVER_OPTIMIZER), list(groups), collected, watch
        )
        split_steps = self.split_steps(plan, groups, ahead)
        tampered = self.tampering(plan, "main_server")
        link = DirectLink(server if tampered is None else LyingServer(server, plan, tampered))
        play_split_steps(share, split_steps, lambda p, step: self._batch(plan, p, step), link, ahead)
        outcome = self._done(share)
        if tampered is not None:
            outcome.tampered.update(tampered.records)
        if protocol.server == "shared":
            outcome.server_vector, outcome.memory[SERVER_OPTIMIZER] = server.shared_result()
            take_detection(outcome, server)
        elif collected is not None:
            outcome.server_vector, outcome.memory[SERVER_REPLICAS] = collected.average, collected.kept()
            count_replicas(outcome, len(share.positions), start.server)
        else:
            outcome.server_sums, outcome.server_rows = server.replicas()
            count_replicas(outcome, sum(p < plan.reporting for p in share.positions), start.server)
        return outcome

    def _train_site(self, plan: RoundPlan, share: HostShare, start: GlobalState) -> Outcome:
        """Parties other than clients and a server: this host plays them all."""
        server = self.server_slots(1)[0]
        kept = start.memory.get(SERVER_OPTIMIZER) if plan.server_state == "persistent" else None
        server.enter(start.server.to(self.device), kept, plan.server_lr)
        scenario = self.scenario
        play_site(
            share, topology_of(scenario.protocol), scenario.model, server, lambda p, step: self._batch(plan, p, step)
        )
        outcome = self._done(share)
        outcome.server_vector, outcome.memory[SERVER_OPTIMIZER] = server.flat.vector.clone(), server.state()
        return outcome

    def train_pooled(
        self,
        plan: RoundPlan,
        groups: Sequence[int],
        start: GlobalState,
        link: ServerLink,
        ahead: int,
        row_sink: RowSink | None = None,
    ) -> Outcome:
        """Play ``groups`` of a round against a main server at the other end of ``link`` (``pooled``)."""
        ahead = self._ahead(plan, groups, ahead)
        share = self._share(plan, groups, start, slots=ahead, row_sink=row_sink)
        split_steps = self.split_steps(plan, groups, ahead)
        play_split_steps(share, split_steps, lambda p, step: self._batch(plan, p, step), link, ahead)
        return self._done(share)

    def split_steps(self, plan: RoundPlan, groups: Sequence[int], ahead: int) -> list[SplitStep]:
        """The visits of these groups' clients to the main server, in the order in which this host makes them."""
        mine = sorted(p for group in groups for p in plan.groups[group])
        protocol = self.scenario.protocol
        if protocol.server == "replicas" and protocol.order == "parallel":
            return parallel_split_steps(mine, plan.steps, ahead)
        members = set(mine)
        return [split_step for split_step in plan.split_steps(protocol) if split_step.position in members]

    def _ahead(self, plan: RoundPlan, groups: Sequence[int], ahead: int) -> int:
        """Steps under way: all of this host's clients where the server waits for everybody, or it would wait for
        ever."""
        return sum(len(plan.groups[group]) for group in groups) if waits(self.scenario.protocol) else ahead

    def _evaluate_one(self, client: int, portion: torch.Tensor, server: torch.Tensor) -> ClientScores:
        """A client's test set judged by portions that stand now, without touching the seats that train."""
        if self._evaluation_host is None:
            self._evaluation_host = Host(self.scenario, str(self.device))
        return self._evaluation_host.evaluate(np.array([client]), portion, server)

    def _share(
        self,
        plan: RoundPlan,
        groups: Sequence[int],
        start: GlobalState,
        slots: int,
        trained: Callable[[int, torch.Tensor], None] | None = None,
        row_sink: RowSink | None = None,
    ) -> HostShare:
        self._cache.clear()
        begin = replace(start, client=start.client.to(self.device))
        protocol, occupied, tampered = self.scenario.protocol, self.client_slots(slots), self.tampering(plan, "clients")
        self._share_now = HostShare(protocol, plan, groups, occupied, begin, self.taps, trained, row_sink, tampered)
        return self._share_now

    def tampering(self, plan: RoundPlan, party: Party) -> Tampering | None:
        """What a party does to the messages that it sends in a round; None where it is honest."""
        scenario = self.scenario
        return tampering_of(scenario.attack, party, plan.seed, plan.round, scenario.model.classes, plan.malicious)

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
        if self.scenario.protocol.client_sync != "one_party":
            return self._own(plan, position, int(plan.clients[position]))
        sampled = [self._own(plan, position, int(client)) for client in plan.cohort]
        return Samples(torch.cat([s.x for s in sampled]), torch.cat([s.y for s in sampled]))

    def _own(self, plan: RoundPlan, position: int, client: int) -> Samples:
        """What a client trains on: its training set, or what an attack made of it when the client drew its batches."""
        own = self.population.train(client)
        if client not in plan.malicious:
            return own
        whole = self.scenario.protocol.server == "none"
        malicious_client = MaliciousClient(
            client, plan.malicious[client], plan.batch_round(position), lambda x: self._smashed(position, x), whole
        )
        made, done = poison(self.scenario.attack, own, malicious_client, self.population.info.classes, plan.seed)
        if self._share_now is not None:
            record = self._share_now.record(position).poisoned
            record.update({name: some.plus(record.get(name, Poisoning(0, 0, 0.0))) for name, some in done.items()})
        return made

    def _smashed(self, position: int, x: torch.Tensor) -> torch.Tensor:
        """What the portion that a client holds makes of stored samples: smashed data, or logits where it is the whole
        model."""
        assert self._share_now is not None
        if self._malicious_slot is None:  # a seat apart: those of the round may be under way
            self._malicious_slot = ClientSlot(self._portions(), self.scenario.training)
        self._malicious_slot.flat.vector.copy_(self._share_now.holds(position))
        self._malicious_slot.head.eval()
        with torch.no_grad():
            parts = [self._malicious_slot.head(self._pixels(some)) for some in torch.split(x, EVALUATION_BATCH)]
        return torch.cat(parts)

    def _pixels(self, x: torch.Tensor) -> torch.Tensor:
        """What the network sees of stored samples [B, C, H, W]."""
        return to_pixels(x, self.scenario.pixels, self.scenario.training.dtype, self.device)

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
        client_slot = self.client_slots(1)[0]
        client_slot.flat.vector.copy_(client)
        stages = [client_slot.head]
        if len(server):
            server_slot = self.server_slots(1)[0]
            server_slot.flat.vector.copy_(server)
            stages.append(server_slot.body)
        if client_slot.tail is not None:
            stages.append(client_slot.tail)
        hold: Callable[[int], None] | None = None
        if portions is not None:

            def hold(owner: int) -> None:
                client_slot.flat.vector.copy_(portions.get(owner, client))

        sets = [self.population.test(int(c)) for c in clients]
        for stage in stages:
            stage.eval()
        evaluator = Evaluator(stages, self._pixels, hold)
        scores = evaluator.scores(clients, sets, self._aims, self.population.info.classes, self.scenario.seed)
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
        outcome.detected, outcome.memory[SERVER_DETECTION] = server.detected, server.remembered()


def peak_memory_bytes() -> int:
    """This process's peak resident memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
