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
    "raysplit.attacks.poisoning.mimic": ["Mimic"],
    "raysplit.attacks.poisoning.model_replacement": ["ModelReplacement"],
    "raysplit.attacks.poisoning.optimal_ipm": ["OptimalInnerProductManipulation"],
    "raysplit.attacks.poisoning.optimal_lie": ["OptimalLittleIsEnough"],
    "raysplit.attacks.poisoning.scheduled": ["Scheduled"],
    "raysplit.attacks.poisoning.lie": ["LittleIsEnough"],
    "raysplit.costs.devices": [
        "DATACENTER",
        "LAPTOP",
        "PHONE",
        "SENSOR",
        "DeviceClass",
        "DeviceClasses",
        "DeviceProfile",
        "Devices",
        "LogNormalDevices",
    ],
    "raysplit.costs.stragglers": ["Buffer", "Deadline", "Drop", "Wait"],
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
    "raysplit.defenses.aggregation.adaptive_robust_clipping": ["AdaptiveRobustClipping"],
    "raysplit.defenses.aggregation.clipping": ["Clipping"],
    "raysplit.defenses.aggregation.crfl": ["CRFL"],
    "raysplit.defenses.aggregation.deferred": ["Deferred"],
    "raysplit.defenses.aggregation.divide_and_conquer": ["DivideAndConquer"],
    "raysplit.defenses.aggregation.flame": ["FLAME"],
    "raysplit.defenses.aggregation.fltrust": ["FLTrust"],
    "raysplit.defenses.aggregation.fools_gold": ["FoolsGold"],
    "raysplit.defenses.aggregation.sign_guard": ["SignGuard"],
    "raysplit.errors": ["UserError"],
    "raysplit.metrics.run": ["open_run"],
    "raysplit.models.alexnet": ["AlexNet", "AlexNetImageNet", "alexnet", "alexnet_imagenet"],
    "raysplit.models.femnist_cnn": ["FemnistCnn", "LeafCnn", "femnist_cnn", "leaf_cnn"],
    "raysplit.models.gin": ["Gin", "gin"],
    "raysplit.models.lenet": ["LeNet", "lenet"],
    "raysplit.models.resnet": ["ResNet18", "resnet18"],
    "raysplit.models.sequential": ["Sequential", "sequential"],
    "raysplit.models.torchvision_model": ["TorchvisionModel", "torchvision_model"],
    "raysplit.models.unsplit": ["UnSplitCifar", "UnSplitMnist", "unsplit_cifar", "unsplit_mnist"],
    "raysplit.models.vgg": ["Vgg11", "Vgg16", "vgg11", "vgg16"],
    "raysplit.parts": ["part"],
    "raysplit.population.arrow": ["ArrowFile"],
    "raysplit.population.att_faces": ["att_faces"],
    "raysplit.population.cifar10": ["cifar10"],
    "raysplit.population.digits": ["Digits", "digits"],
    "raysplit.population.fashion_mnist": ["fashion_mnist"],
    "raysplit.population.availability": ["DayNight", "TraceFile"],
    "raysplit.population.cohort": ["Cohort"],
    "raysplit.population.draws": ["FixedRing", "Poisson", "RoundRobin", "Uniform", "Weighted"],
    "raysplit.population.dropouts": ["Dropouts"],
    "raysplit.population.femnist": ["femnist"],
    "raysplit.population.ham10000": ["ham10000"],
    "raysplit.population.mnist": ["mnist"],
    "raysplit.population.own_data": ["image_folder", "table"],
    "raysplit.population.partition.classes_per_client": ["ClassesPerClient"],
    "raysplit.population.partition.dirichlet": ["Dirichlet"],
    "raysplit.population.partition.feature_skew": ["NoiseLevels", "Rotations"],
    "raysplit.population.partition.iid": ["Iid"],
    "raysplit.population.partition.natural": ["Natural"],
    "raysplit.population.partition.partitioned": ["Partitioned", "partitioned"],
    "raysplit.population.partition.quantity_skew": ["LogNormalSizes", "QuantitySkew"],
    "raysplit.population.partition.shards": ["Shards"],
    "raysplit.population.subset": ["Subset", "subset"],
    "raysplit.population.synthetic": ["SyntheticWriters", "synthetic_writers"],
    "raysplit.population.tudataset": ["tudataset"],
    "raysplit.protocols.buffered": ["BufferedSplitFed", "Speeds"],
    "raysplit.protocols.centralized": ["Centralized"],
    "raysplit.protocols.cycle_sl": ["CyclePsl", "CycleSfl"],
    "raysplit.protocols.fedavg": ["FedAvg"],
    "raysplit.protocols.loss_drop": ["AsyncSplitFed", "AsyncSplitLearning"],
    "raysplit.protocols.minibatch_sfl": ["MiniBatchSfl"],
    "raysplit.protocols.parallel_sl": ["ParallelSl"],
    "raysplit.protocols.sglr": ["Sglr"],
    "raysplit.protocols.split_learning": ["SplitLearning"],
    "raysplit.protocols.splitfed_v1": ["SplitFedV1"],
    "raysplit.protocols.splitfed_v2": ["SplitFedV2"],
    "raysplit.protocols.splitfed_v3": ["SplitFedV3"],
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
