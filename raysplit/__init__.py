"""RaySplit: split, federated and split-federated learning with thousands of virtual clients, attacked and defended, on Ray.

The names a scenario file needs. Nothing heavy is imported until it is asked for.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "raysplit.attacks.poisoning.agr_tailored": ["AgrTailored"],
    "raysplit.attacks.poisoning.fang": ["Fang"],
    "raysplit.attacks.poisoning.gaussian": ["GaussianNoise"],
    "raysplit.attacks.poisoning.ipm": ["InnerProductManipulation"],
    "raysplit.attacks.poisoning.min_max": ["MinMax"],
    "raysplit.attacks.poisoning.min_sum": ["MinSum"],
    "raysplit.attacks.poisoning.sign_flip": ["SignFlip"],
    "raysplit.attacks.poisoning.lie": ["LittleIsEnough"],
    "raysplit.defenses.aggregation.bucketing": ["Bucketing"],
    "raysplit.defenses.aggregation.bulyan": ["Bulyan"],
    "raysplit.defenses.aggregation.centred_clipping": ["CentredClipping"],
    "raysplit.defenses.aggregation.composed": ["Composed"],
    "raysplit.defenses.aggregation.geometric_median": ["GeometricMedian"],
    "raysplit.defenses.aggregation.krum": ["Krum"],
    "raysplit.defenses.aggregation.mean": ["Mean"],
    "raysplit.defenses.aggregation.median": ["Median"],
    "raysplit.defenses.aggregation.trimmed_mean": ["TrimmedMean"],
    "raysplit.defenses.aggregation.mean_around_median": ["MeanAroundMedian"],
    "raysplit.defenses.aggregation.multi_krum": ["MultiKrum"],
    "raysplit.defenses.aggregation.nearest_neighbour_mixing": ["NearestNeighbourMixing"],
    "raysplit.defenses.aggregation.norm_clipping": ["NormClipping"],
    "raysplit.errors": ["UserError"],
    "raysplit.metrics.run": ["open_run"],
    "raysplit.models.femnist_cnn": ["FemnistCnn", "LeafCnn", "femnist_cnn", "leaf_cnn"],
    "raysplit.parts": ["part"],
    "raysplit.population.arrow": ["ArrowFile"],
    "raysplit.population.cohort": ["Cohort"],
    "raysplit.population.femnist": ["femnist"],
    "raysplit.population.synthetic": ["SyntheticWriters", "synthetic_writers"],
    "raysplit.protocols.buffered": ["BufferedSplitFed", "Speeds"],
    "raysplit.protocols.centralized": ["Centralized"],
    "raysplit.protocols.fedavg": ["FedAvg"],
    "raysplit.protocols.loss_drop": ["AsyncSplitFed", "AsyncSplitLearning"],
    "raysplit.protocols.split_learning": ["SplitLearning"],
    "raysplit.protocols.splitfed_v1": ["SplitFedV1"],
    "raysplit.protocols.splitfed_v2": ["SplitFedV2"],
    "raysplit.protocols.topologies.extended": ["ExtendedSplit"],
    "raysplit.protocols.topologies.multi_task": ["MultiTaskSplit", "Task"],
    "raysplit.protocols.topologies.vertical": ["VerticalSplit"],
    "raysplit.scenario": ["Evaluation", "Scenario", "grid"],
    "raysplit.optimizers": ["Adam", "Sgd"],
    "raysplit.training": ["CosineDecay", "FedOpt", "StepDecay", "Training"],
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__version__ = "0.1.0"
__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'raysplit' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
