"""How many numbers an adversary controls: the dimensionality of the attack surface, which the cut shifts from one
channel to another.

Khan et al. 2022 explain the mildness of poisoning in SplitFed by the small client portion, and expect the
dimensionality of smashed data to decide how poisoning those would do (sections 5 and 6.1). Sizes alone give both.
"""

from __future__ import annotations

from dataclasses import dataclass

from raysplit.costs.portions import CutCosts, cut_costs
from raysplit.costs.traffic import handovers, samples_seen
from raysplit.protocols.plan import RoundPlan
from raysplit.scenario.scenario import Scenario


@dataclass(frozen=True)
class Surface:
    """What one malicious client sends in a round, mean over the clients of a plan: numbers, not bytes.

    ``updates``: floats of its portion, to a fed server or to the next client. ``smashed``: n·q floats, q at the cut, an
    epoch. ``labels``: n whole numbers an epoch; 0 in a U-shape. ``feature_gradients``: n·q₂ floats an epoch, of a
    U-shape. A malicious main server sends each client as many floats of cut gradients as that client sends smashed
    data, and as many of features as it gets gradients of them.
    """

    updates: float
    smashed: float
    labels: float
    feature_gradients: float

    @property
    def floats(self) -> float:
        return self.updates + self.smashed + self.feature_gradients


def attack_surface(scenario: Scenario, plan: RoundPlan, costs: CutCosts | None = None) -> Surface:
    """The surface that the scenario's cut leaves a client in the round of ``plan``. Nothing is trained."""
    costs, protocol = costs or cut_costs(scenario), scenario.protocol
    samples = float(samples_seen(scenario, plan).mean())
    split = protocol.server != "none"
    portion = 0.0
    if protocol.client_sync == "averaging":
        portion = float(costs.client_floats)
    elif protocol.client_sync == "handover":
        portion = costs.client_floats * float(handovers(scenario, plan).mean())
    return Surface(
        updates=portion,
        smashed=samples * costs.smashed if split else 0.0,
        labels=samples if split and not protocol.u_shaped else 0.0,
        feature_gradients=samples * costs.features if protocol.u_shaped else 0.0,
    )
