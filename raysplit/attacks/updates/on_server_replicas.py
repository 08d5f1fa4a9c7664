"""Poisoning what server replicas send to the main server, in SplitFedV1 and V3."""

from __future__ import annotations

from typing import ClassVar

from raysplit.aggregation.update_attack import Poison, UpdateAttack, UpdateView
from raysplit.channels.channel import Channel, ThreatModel
from raysplit.errors import ScenarioError
from raysplit.parts.part import part


@part
class OnServerReplicas(UpdateAttack):
    """``attack`` acts on ``server_updates`` as it would on ``updates``: on the updates of the malicious clients' server
    replicas.

    The main server keeps a malicious client's server replica. That its update is replaced there means that the
    adversary holds the replica too: a main server, or a host of replicas, that colludes with the clients. To poison
    client portions as well, join two: ``CompositeAttack((SignFlip(), OnServerReplicas(SignFlip())))``. Each sees its
    own half alone: those updates, the rule on them and what that rule will cut. With one column-wise attack and one
    column-wise rule on both halves the cohort does what it would do to the whole model under FedAvg (tests/invariants).
    The tables name ``attack`` itself, with its channel. Raises ScenarioError unless it changes ``updates`` alone.

    >>> import torch
    >>> from raysplit import OnServerReplicas, SignFlip
    >>> honest = torch.tensor([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0], [2.0, 2.0]])
    >>> OnServerReplicas(SignFlip())(honest, m=1)
    tensor([[-1., -2.]])
    """

    attack: UpdateAttack
    shardable: ClassVar[bool] = True  # replicas are not cut into shards

    def __post_init__(self) -> None:
        changes = self.attack.threat_model.changes
        if changes != {Channel.UPDATES}:
            named = ", ".join(sorted(channel.value for channel in changes)) or "nothing"
            raise ScenarioError(
                "OnServerReplicas.attack must be an attack that changes updates and nothing else, but "
                f"{type(self.attack).__name__} changes {named}"
            )

    @property
    def threat_model(self) -> ThreatModel:
        there = self.attack.threat_model
        return ThreatModel(_at_replicas(there.sees), _at_replicas(there.changes), there.knowledge)

    @property
    def start_round(self) -> int:
        return self.attack.start_round

    def parts(self) -> tuple[UpdateAttack, ...]:
        return (self.attack,)

    def on(self, channel: Channel) -> UpdateAttack | None:
        return self.attack if channel is Channel.SERVER_UPDATES else None

    def poison(self, view: UpdateView) -> Poison:
        return self.attack.poison(view)


def _at_replicas(channels: frozenset[Channel]) -> frozenset[Channel]:
    return frozenset(Channel.SERVER_UPDATES if channel is Channel.UPDATES else channel for channel in channels)
