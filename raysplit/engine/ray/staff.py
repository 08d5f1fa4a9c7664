"""The actors of one engine: taken from a pool or started, given the scenario, replaced when they are lost, given
back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from raysplit.engine.activity import Doing
from raysplit.engine.placement import Layout
from raysplit.engine.ray.actor_pool import ActorPool, ActorSpec, Worker, end
from raysplit.engine.ray.actors import ClientHost, MainServer, Started
from raysplit.engine.ray.calls import ANSWER_S, Call, Member, ask
from raysplit.engine.ray.cluster import START_TIMEOUT_S, free_resources
from raysplit.engine.ray.deadlines import Deadlines
from raysplit.engine.ray.own_cluster import LOOPBACK
from raysplit.engine.ray.shard_actor import ShardActor
from raysplit.errors import ClusterError, RunError

KINDS: dict[str, Any] = {"host": ClientHost, "server": MainServer, "shard": ShardActor}
PLURALS = {"host": "client hosts", "server": "main servers", "shard": "column shards"}
TAKES = 2
"""How often an actor that dies or hangs while it is given the scenario is replaced, less one."""
Place = tuple[str, int]
"""Kind and index of an actor."""


class Staff:
    """``actors`` by kind and index, and how they introduced themselves."""

    def __init__(
        self, layout: Layout, pool: ActorPool, deadlines: Deadlines, take: Callable[[Place, Any], Any]
    ) -> None:
        """``take``: the call that gives the scenario to an actor in its place."""
        self._pool, self._deadlines, self._take = pool, deadlines, take
        self._specs: dict[str, ActorSpec] = {
            "host": ("client host", 1, layout.gpus_per_host),
            "server": ("main server", layout.cpus_per_server, layout.gpus_per_host),
            "shard": ("column shard", 0, 0),
        }
        shards = layout.shards if layout.shards > 1 else 0
        self._wanted = {"host": layout.hosts, "server": layout.servers, "shard": shards}
        self.actors: dict[str, list[Any]] = {kind: [] for kind in KINDS}
        self.started: dict[Place, Started] = {}
        self._new_at: set[Place] = set()

    def start(self) -> int:
        """Take idle actors or start new ones; returns how many calls it took. Raises ``ClusterError`` where the cluster
        has no room for them, ``RunError`` where one does not get ready."""
        for kind, count in self._wanted.items():
            self.actors[kind] = self._pool.acquire(self._specs[kind], count)
        new = {kind: count - len(self.actors[kind]) for kind, count in self._wanted.items()}
        cpus = sum(count * self._specs[kind][1] for kind, count in new.items())
        self._pool.make_room(cpus, sum(count * self._specs[kind][2] for kind, count in new.items()))
        for kind, count in new.items():
            self._new_at |= {(kind, index) for index in range(self._wanted[kind] - count, self._wanted[kind])}
            self.actors[kind] += [self._new(kind) for _ in range(count)]
        return self._enlist([(kind, index) for kind, actors in self.actors.items() for index in range(len(actors))])

    def member(self, kind: str, index: int) -> Member:
        """An actor, and its name."""
        at = self.started.get((kind, index))
        if at is None:
            return Member(self.actors[kind][index], f"{kind} {index}")
        name = f"{kind} {index} (pid {at.pid}, node {at.node})"
        return Member(self.actors[kind][index], name, at.pid if at.node == LOOPBACK else None)

    def address(self, kind: str, index: int) -> tuple[str, int]:
        """Where others reach a server or a shard."""
        address = self.started[kind, index].address
        assert address is not None, "hosts are not called"
        return address

    def abort(self) -> None:
        """Tell all servers and shards to hang up, and wait until they have: a late hang-up must not hit the replay."""
        told = [actor.abort.remote() for kind in ("server", "shard") for actor in self.actors[kind]]
        if told:
            ray.wait(told, num_returns=len(told), timeout=ANSWER_S)  # who is dead, or as good as, is replaced

    def replace_lost(self, patience_s: float = 6 * ANSWER_S) -> int:
        """Replace who is dead, or does not answer within ``patience_s``; returns how many calls it took."""
        places = [(kind, index) for kind, actors in self.actors.items() for index in range(len(actors))]
        answers = {place: self.actors[place[0]][place[1]].answers.remote() for place in places}
        if answers:
            ray.wait(list(answers.values()), num_returns=len(answers), timeout=patience_s)
        lost = [place for place, answer in answers.items() if not _came(answer)]
        for place in lost:
            self._replace(place)
        return self._enlist(lost)

    def release(self, broken: bool, patience_s: float) -> None:
        """Give the actors back to the pool; ``broken``: end them, and wait so long until they are gone."""
        workers = []
        for kind, actors in self.actors.items():
            for index, actor in enumerate(actors):
                at = self.started.get((kind, index))
                workers.append((self._specs[kind], Worker(actor, 0 if at is None else at.pid)))
        self.actors = {kind: [] for kind in KINDS}
        if broken:
            end([worker for _, worker in workers], patience_s)
            return
        for spec, worker in workers:
            self._pool.release(spec, worker)

    def _new(self, kind: str) -> Any:
        _, cpus, gpus = self._specs[kind]
        return KINDS[kind].options(num_cpus=cpus, num_gpus=gpus, max_restarts=0).remote(gpus)

    def _replace(self, place: Place) -> None:
        kind, index = place
        ray.kill(self.actors[kind][index], no_restart=True)
        self.actors[kind][index] = self._new(kind)
        self._new_at.add(place)
        self.started.pop(place, None)

    def _enlist(self, places: Sequence[Place]) -> int:
        """Give these actors the scenario, and wait until they are ready to train."""
        made = 0
        for attempt in range(TAKES):
            calls = {p: Call(self.member(*p), self._take(p, self.actors[p[0]][p[1]])) for p in places}
            made += len(calls)
            places = self._not_ready(calls, last=attempt == TAKES - 1)
            for place in places:
                self._replace(place)
        return made

    def _not_ready(self, calls: dict[Place, Call], last: bool) -> list[Place]:
        """Wait for actors to get ready; those that died or hang. Raises ``ClusterError`` where the cluster has no room
        for one, and on the ``last`` try for whoever died or hangs."""
        if not calls:
            return []
        results = {call.result: place for place, call in calls.items()}
        seconds = self._deadlines.start(START_TIMEOUT_S)
        _, waiting = ray.wait(list(results), num_returns=len(results), timeout=seconds)
        late = {results[result]: calls[results[result]].member for result in waiting}
        if late:
            doing = ask(list(late.values()), ANSWER_S)
            nowhere = [p for p, member in late.items() if doing[member.name] is None and p in self._new_at]
            if nowhere:
                raise self._no_room(nowhere, list(calls), seconds)
            if last:
                raise _not_opened(next(iter(late.values())), doing, seconds)
        died = [p for p, call in calls.items() if p not in late and not self._introduced(p, call, last)]
        return [*late, *died]

    def _no_room(self, nowhere: list[Place], asked: list[Place], seconds: float) -> ClusterError:
        kind = nowhere[0][0]
        without, of = (sum(p[0] == kind for p in places) for places in (nowhere, asked))
        return ClusterError(
            f"{without} of {of} {PLURALS[kind]} found no room within {seconds:g} s (free: {free_resources()}); use "
            "fewer --hosts"
        )

    def _introduced(self, place: Place, call: Call, last: bool) -> bool:
        """Note what a ready actor says of itself; False where it died on the way."""
        try:
            self.started[place] = ray.get(call.result)
        except RayTaskError as error:
            raise (error.cause if isinstance(error.cause, Exception) else error) from None
        except RayActorError:
            if last:
                raise
            return False
        self._new_at.discard(place)
        return True


def _not_opened(member: Member, doing: dict[str, Doing | None], seconds: float) -> RunError:
    found = doing[member.name]
    at = f", and is at {found.place}" if found is not None and found.place else ""
    return RunError(
        f"{member.name} did not open the population and build the model within {seconds:g} s{at}; mend that, or allow "
        "more time with --deadline"
    )


def _came(answer: Any) -> bool:
    try:
        ray.get(answer, timeout=0)
    except RayError:
        return False
    return True
