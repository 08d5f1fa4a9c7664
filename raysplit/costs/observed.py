"""How much an adversary's observations take on disk, from sizes alone."""

from __future__ import annotations

from raysplit.channels.message import LABEL_BYTES
from raysplit.costs.portions import cut_costs
from raysplit.scenario.scenario import Scenario


def observed_bytes(scenario: Scenario) -> int:
    """At most so many bytes of tensors are kept under a run's ``observations``: rounds × clients × samples × a sample's
    floats on each channel, and its label; 0 where nothing is observed."""
    observe = scenario.observe
    if observe is None:
        return 0
    costs = cut_costs(scenario)
    floats = {
        "smashed": costs.smashed,
        "cut_gradients": costs.answered,
        "features": costs.features,
        "feature_gradients": costs.features,
    }
    sample = costs.float_bytes * sum(floats[name] for name in observe.channels)
    if "smashed" in observe.channels and not scenario.protocol.u_shaped:
        sample += LABEL_BYTES
    clients = scenario.setting.clients if observe.clients is None else len(observe.clients)
    return len(set(observe.rounds)) * clients * observe.max_samples * sample
