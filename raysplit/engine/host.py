"""A host: one process that plays clients, and the main server beside them or apart. Plain Python; Ray only wraps it."""

from __future__ import annotations

import copy
import resource
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from raysplit.attacks.data.poisoning import MaliciousClient, measured, poison
from raysplit.attacks.steps.played_steps import PlayedSteps
from raysplit.channels.channel import Channel
from raysplit.channels.hooks import MessageHook, PartyEnd
from raysplit.channels.traffic import Traffic
from raysplit.engine.activity import Activity
from raysplit.engine.evaluator import EVALUATION_BATCH, Evaluator
from raysplit.engine.hooks import hooks_in_force, take_end
from raysplit.engine.malicious_steps import malicious_steps_of, take_steps
from raysplit.engine.message_defenses import defended_loss, in_evaluation, released_labels
from raysplit.memory.global_state import GlobalState
from raysplit.memory.memory import SERVER_OPTIMIZER, SERVER_REPLICAS
from raysplit.models.evaluation_mode import evaluation_mode
from raysplit.models.network import Portions, build, cut
from raysplit.models.noise.prediction import averaged_draws
from raysplit.models.pixels import to_pixels
from raysplit.population.opening import open_population
from raysplit.population.population import Population, Samples
from raysplit.protocols.joint import joint
from raysplit.protocols.learners import unanswered
from raysplit.protocols.outcome import ClientScores, Outcome, Poisoning
from raysplit.protocols.plan import RoundPlan
from raysplit.protocols.split_steps import SplitStep, parallel_split_steps
from raysplit.scenario.privacy_rules import client_rule_of, clips, server_rule_of
from raysplit.scenario.scenario import Scenario
from raysplit.threads import pin_threads
from raysplit.training.client_side import HostShare, play_split_steps, train_unsplit
from raysplit.training.failures import failure_of
from raysplit.training.gradient_rules import GradientRule
from raysplit.training.links import DirectLink, ServerLink
from raysplit.training.parties import ClientSlot, ServerGradientRule, ServerSlot
from raysplit.training.server import MainServer, ServerResult
from raysplit.training.servers.collected import CollectedReplicas
from raysplit.training.servers.main_server import open_server
from raysplit.training.sites.site import play_site
from raysplit.training.slot_pool import RowSink


class Host:
    """Holds an open population and as many slots (copies of a portion) as it has steps under way; clients hold
    nothing."""

    def __init__(
        self,
        scenario: Scenario,
        device: str = "cpu",
        hooks: tuple[MessageHook, ...] = (),
        gradient_rule: GradientRule | None = None,
        server_rule: ServerGradientRule | None = None,
        activity: Activity | None = None,
    ) -> None:
        """``hooks``: beside those of the scenario. ``gradient_rule``: the clients', ``server_rule``: the main server's,
        None: the scenario's. ``activity``: where every step is noted, for whoever watches this host."""
        pin_threads()
        self._activity = activity or Activity()
        self.scenario = scenario
        self.device = torch.device(device)
        self._hooks = hooks
        self._gradient_rule = gradient_rule or client_rule_of(scenario)
        self._server_rule = server_rule or server_rule_of(scenario)
        self.population: Population = open_population(scenario.population)
        self._model = joint(scenario.model, scenario.protocol)
        network = build(self._model, scenario.seed, scenario.training.dtype).to(self.device)
        self._network = network
        portions = cut(network, self._model, scenario.protocol.server != "none", scenario.protocol.u_shaped)
        self._unanswered = unanswered(portions, scenario.model, scenario.protocol.topology)
        self._client_slots: list[ClientSlot] = []
        self._server_slots: list[ServerSlot] = []
        self._evaluation_host: Host | None = None
        self._malicious_slot: ClientSlot | None = None
        self._share_now: HostShare | None = None
        self._steps_now: dict[int, PlayedSteps] = {}
        self._aims = measured(scenario.evaluation.success_of or scenario.attack)
        self._cache: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def _portions(self) -> Portions:
        protocol = self.scenario.protocol
        return cut(copy.deepcopy(self._network), self._model, protocol.server != "none", protocol.u_shaped)

    def client_slots(self, count: int) -> list[ClientSlot]:
        while len(self._client_slots) < count:
            slot = ClientSlot(self._portions(), self.scenario.training)
            if clips(self.scenario):
                slot.watch_layers()
            self._client_slots.append(slot)
        return self._client_slots[:count]

    def server_slots(self, count: int) -> list[ServerSlot]:
        while len(self._server_slots) < count:
            server_slot = ServerSlot(self._portions(), self.scenario.training, self._server_rule)
            if self._server_rule is not None:
                server_slot.watch_layers()
            self._server_slots.append(server_slot)
        return self._server_slots[:count]

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
        clients_end, server_end = self.ends(plan, start)
        server: MainServer | None = None
        tests: dict[int, ClientScores] = {}

        def test(position: int, portion: torch.Tensor) -> None:
            own = torch.zeros(0) if server is None else server.last_portion()
            tests[position] = self._evaluate_one(int(plan.clients[position]), portion, own)

        tested = protocol.published.tested == "in_training"
        share = self._share(plan, groups, start, ahead, clients_end, test if tested else None, row_sink)
        share.outcome.tests = tests
        if protocol.server == "none":
            train_unsplit(share, lambda p, step: self._batch(plan, p, step))
            return self._done(share, clients_end)
        if protocol.topology.kind != "pair":
            return self._train_site(plan, share, start, server_end)
        vector = start.server.to(self.device)
        collected = None
        if protocol.server == "replicas" and protocol.published.replicas_meet == "all_collected":
            population = self.population.info.clients
            collected = CollectedReplicas(plan.clients, population, vector, start.memory.get(SERVER_REPLICAS, {}))
        slots, kept = self.server_slots(1), start.memory.get(SERVER_OPTIMIZER)
        server = open_server(protocol, plan, slots, vector, kept, list(groups), server_end, collected)
        split_steps = self.split_steps(plan, groups, ahead)
        link = DirectLink(server, server_end)
        play_split_steps(share, split_steps, lambda p, step: self._batch(plan, p, step), link, ahead)
        outcome = self._done(share, clients_end, server_end)
        take_result(outcome, server.result())
        return outcome

    def _train_site(self, plan: RoundPlan, share: HostShare, start: GlobalState, server_end: PartyEnd) -> Outcome:
        """Parties other than clients and a server: this host plays them all."""
        server, scenario = self.server_slots(1)[0], self.scenario
        kept = start.memory.get(SERVER_OPTIMIZER) if plan.server_state == "persistent" else None
        server.enter(start.server.to(self.device), kept, plan.server_lr)
        topology = scenario.protocol.topology
        play_site(share, topology, scenario.model, server, server_end, lambda p, step: self._batch(plan, p, step))
        outcome = self._done(share, share.end, server_end)
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
        end, _ = self.ends(plan, start)
        share = self._share(plan, groups, start, ahead, end, row_sink=row_sink)
        split_steps = self.split_steps(plan, groups, ahead)
        play_split_steps(share, split_steps, lambda p, step: self._batch(plan, p, step), link, ahead)
        return self._done(share, end)

    def split_steps(self, plan: RoundPlan, groups: Sequence[int], ahead: int) -> list[SplitStep]:
        """The split steps of these groups' clients, in the order in which this host takes them."""
        own_positions = sorted(p for group in groups for p in plan.groups[group])
        protocol = self.scenario.protocol
        if protocol.server == "replicas" and protocol.order == "parallel":
            return parallel_split_steps(own_positions, plan.steps, ahead)
        members = set(own_positions)
        return [split_step for split_step in plan.split_steps(protocol) if split_step.position in members]

    def _ahead(self, plan: RoundPlan, groups: Sequence[int], ahead: int) -> int:
        """Steps under way: all of this host's clients where the server waits for everybody, or it would wait for
        ever."""
        return sum(len(plan.groups[group]) for group in groups) if self.scenario.protocol.waits else ahead

    def _evaluate_one(self, client: int, portion: torch.Tensor, server: torch.Tensor) -> ClientScores:
        """A client's test set evaluated with the present portions, without touching the slots that train."""
        if self._evaluation_host is None:
            self._evaluation_host = Host(self.scenario, str(self.device), activity=self._activity)
        return self._evaluation_host.evaluate(np.array([client]), portion, server)

    def _share(
        self,
        plan: RoundPlan,
        groups: Sequence[int],
        start: GlobalState,
        slots: int,
        end: PartyEnd,
        trained: Callable[[int, torch.Tensor], None] | None = None,
        row_sink: RowSink | None = None,
    ) -> HostShare:
        self._cache.clear()
        begin = replace(start, client=start.client.to(self.device))
        protocol, occupied = self.scenario.protocol, self.client_slots(slots)
        rule = defended_loss(self.scenario, plan, self._gradient_rule)
        self._steps_now = malicious_steps_of(self.scenario, plan, groups, start.memory)
        steps = self._steps_now
        self._share_now = HostShare(protocol, plan, groups, occupied, begin, end, rule, trained, row_sink, steps)
        return self._share_now

    def ends(self, plan: RoundPlan, start: GlobalState) -> tuple[PartyEnd, PartyEnd]:
        """The clients' and the main server's end of the channels in a round, with the hooks that act there."""
        hooks, traffic = hooks_in_force(self.scenario, plan, start.memory, self._hooks), Traffic()

        def crosses(channel: Channel, position: int) -> bool:
            return channel not in self._unanswered and plan.crosses(channel, position)

        clients, server = (PartyEnd(party, hooks, traffic, crosses) for party in ("clients", "main_server"))
        return clients, server

    def _done(self, share: HostShare, *ends: PartyEnd) -> Outcome:
        self._cache.clear()
        self._share_now = None
        outcome = share.close()
        outcome.crossed(share.traffic)
        take_end(outcome, *ends)
        take_steps(outcome, self._steps_now)
        return outcome

    def _batch(self, plan: RoundPlan, position: int, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        self._activity.step(plan.round, int(plan.clients[position]))
        if position not in self._cache:
            self._cache[position] = self._samples(plan, position)
        x, y = self._cache[position]
        samples, round = int(plan.samples[position]), plan.batch_round(position)
        batching = self.scenario.training.batching
        chosen = batching.indices(plan.seed, round, int(plan.clients[position]), step, samples)
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
            return released_labels(self.scenario, own, client)
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
        if self._malicious_slot is None:  # a slot of its own: those of the round may be under way
            self._malicious_slot = ClientSlot(self._portions(), self.scenario.training)
        self._malicious_slot.flat.vector.copy_(self._share_now.holds(position))
        self._malicious_slot.head.eval()
        with torch.no_grad():
            parts = [self._malicious_slot.head(self._pixels(some)) for some in torch.split(x, EVALUATION_BATCH)]
        return torch.cat(parts)

    def _pixels(self, x: torch.Tensor) -> torch.Tensor:
        """What the network sees of stored samples [B, C, H, W]."""
        self._activity.tick()
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
        if self.scenario.protocol.server != "none":
            server_slot = self.server_slots(1)[0]
            server_slot.flat.vector.copy_(server)
            stages.append(server_slot.body)
        if client_slot.tail is not None:
            stages.append(client_slot.tail)
        hold: Callable[[int], None] | None = None
        if portions is not None:

            def hold(owner: int) -> None:
                client_slot.flat.vector.copy_(portions.get(owner, client))

        sets = [self._test_set(int(owner)) for owner in clients]
        sent = in_evaluation(self.scenario, int(clients[0])) if len(clients) else None
        averaged = averaged_draws(stages, self.scenario.seed, "pixeldp_evaluation")
        evaluator = Evaluator(stages, self._pixels, hold, sent, averaged)
        with evaluation_mode(stages):
            return evaluator.scores(clients, sets, self._aims, self.population.info.classes, self.scenario.seed)

    def _test_set(self, client: int) -> Samples:
        self._activity.step(None, client)
        try:
            return self.population.test(client)
        except Exception as error:
            raise failure_of(None, client, error) from error


def take_result(outcome: Outcome, result: ServerResult) -> None:
    """What a main server hands back becomes part of the round's outcome."""
    outcome.server_vector = result.vector
    outcome.server_sums, outcome.server_rows = result.sums, result.rows
    outcome.memory.update(result.memory)


def peak_memory_bytes() -> int:
    """This process's peak resident memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
