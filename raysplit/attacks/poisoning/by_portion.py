"""Which half of a cut model is poisoned: the client portions' updates, the server replicas', or both, each in its own way."""

from __future__ import annotations

from raysplit.attacks.poisoning.poisoning import Poison, UpdateAttack, UpdateView
from raysplit.channels import Channel, ThreatModel
from raysplit.errors import ScenarioError
from raysplit.parts import part


@part
class ByPortion:
    """``server`` acts on ``server_updates`` (SplitFedV1, SplitFedV3) as it would alone on ``updates``, and ``client`` on these (None: nobody).

    A malicious client's server replica lies at the main server. That its update is replaced there means that the adversary holds the
    replica too: a main server, or a host of replicas, that colludes with the clients. Each of the two sees its own half alone: the
    replicas' updates, the rule on replicas and what that rule will cut. With one column-wise attack and one column-wise rule on both
    halves the cohort does what it would do to the whole model under FedAvg (tests/invariants).

    The tables name the attack on each half, with its channel; the threat model is the two together. Raises ScenarioError where either is
    no attack on updates.
    """

    server: UpdateAttack
    client: UpdateAttack | None = None

    def __post_init__(self) -> None:
        for name, attack in (("client", self.client), ("server", self.server)):
            if attack is not None and attack.threat_model.changes != {Channel.UPDATES}:
                changes = ", ".join(sorted(channel.value for channel in attack.threat_model.changes)) or "nothing"
                raise ScenarioError(
                    f"ByPortion.{name} must be an attack that changes updates and nothing else, but {type(attack).__name__} changes {changes}"
                )

    @property
    def threat_model(self) -> ThreatModel:
        """Knowledge is full where either has it."""
        there = self.server.threat_model
        halves = [ThreatModel(_at_server(there.sees), _at_server(there.changes), there.knowledge)]
        if self.client is not None:
            halves.append(self.client.threat_model)
        return ThreatModel(
            frozenset().union(*(half.sees for half in halves)),
            frozenset().union(*(half.changes for half in halves)),
            "full" if any(half.knowledge == "full" for half in halves) else "partial",
        )

    @property
    def start_round(self) -> int:
        """The first round in which either acts."""
        return min(attack.start_round for attack in (self.client, self.server) if attack is not None)

    def on(self, channel: Channel) -> UpdateAttack | None:
        """The attack on one half."""
        return self.server if channel is Channel.SERVER_UPDATES else self.client

    def poison(self, view: UpdateView) -> Poison:
        attack = self.on(view.channel)
        return Poison(view.own) if attack is None else attack.poison(view)


def _at_server(channels: frozenset[Channel]) -> frozenset[Channel]:
    return frozenset(Channel.SERVER_UPDATES if channel is Channel.UPDATES else channel for channel in channels)
