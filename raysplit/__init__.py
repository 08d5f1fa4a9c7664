"""RaySplit: split, federated and split-federated learning with thousands of virtual clients, attacked and defended, on
Ray.

The names that a scenario or a notebook needs; ``raysplit.contracts`` has those for classes of one's own. Nothing heavy
is imported until it is used. What type checkers and editors read, ``__init__.pyi``, is written from the table
below by tools/public_names.py.
"""

from __future__ import annotations

import importlib
from typing import Any

HOMES = {
    "raysplit.attacks.attack": ["CompositeAttack"],
    "raysplit.attacks.scheduled": ["Scheduled"],
    "raysplit.attacks.data.backdoor": ["DistributedBackdoor", "PixelBackdoor"],
    "raysplit.attacks.data.edge_case": ["EdgeCaseBackdoor"],
    "raysplit.attacks.data.farthest_flip": ["FarthestLabelFlip"],
    "raysplit.attacks.data.label_flip": ["LabelFlip", "TargetedLabelFlip"],
    "raysplit.attacks.updates.neurotoxin": ["Neurotoxin"],
    "raysplit.attacks.data.semantic": ["Brightness", "ListedSamples", "OwnedBy", "SemanticBackdoor"],
    "raysplit.attacks.data.trigger": ["Patch"],
    "raysplit.attacks.updates.agr_tailored": ["AgrTailored"],
    "raysplit.attacks.updates.on_server_replicas": ["OnServerReplicas"],
    "raysplit.attacks.updates.fang": ["Fang"],
    "raysplit.attacks.updates.gaussian": ["GaussianNoise"],
    "raysplit.attacks.updates.ipm": ["InnerProductManipulation"],
    "raysplit.attacks.updates.min_max": ["MinMax"],
    "raysplit.attacks.updates.min_sum": ["MinSum"],
    "raysplit.attacks.updates.sign_flip": ["SignFlip"],
    "raysplit.attacks.updates.mimic": ["Mimic"],
    "raysplit.attacks.updates.model_replacement": ["ModelReplacement"],
    "raysplit.attacks.updates.optimal_ipm": ["OptimalInnerProductManipulation"],
    "raysplit.attacks.updates.optimal_lie": ["OptimalLittleIsEnough"],
    "raysplit.attacks.updates.lie": ["LittleIsEnough"],
    "raysplit.attacks.messages.ascent": ["SmashedAscent"],
    "raysplit.attacks.messages.backdoor": ["SmashedBackdoor"],
    "raysplit.attacks.messages.feature_gradients": ["FeatureGradientTampering"],
    "raysplit.attacks.messages.labels": ["WireLabelFlip"],
    "raysplit.attacks.messages.malicious_server": ["ServerSteering", "ServerTampering"],
    "raysplit.attacks.messages.misalignment": ["Misalignment"],
    "raysplit.attacks.messages.noise": ["SmashedNoise"],
    "raysplit.attacks.messages.replacement": ["FeatureReplacement"],
    "raysplit.attacks.messages.tailored": ["SmashedTailored"],
    "raysplit.scenario.devices": [
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
    "raysplit.scenario.stragglers": ["Buffer", "Deadline", "Drop", "Wait"],
    "raysplit.aggregation.rules.bucketing": ["Bucketing"],
    "raysplit.aggregation.rules.bulyan": ["Bulyan"],
    "raysplit.aggregation.rules.centred_clipping": ["CentredClipping"],
    "raysplit.aggregation.rules.composed": ["Composed"],
    "raysplit.aggregation.rules.geometric_median": ["GeometricMedian"],
    "raysplit.aggregation.rules.krum": ["Krum"],
    "raysplit.aggregation.rules.mean": ["Mean"],
    "raysplit.aggregation.rules.median": ["Median"],
    "raysplit.aggregation.rules.trimmed_mean": ["TrimmedMean"],
    "raysplit.aggregation.rules.mean_around_median": ["MeanAroundMedian"],
    "raysplit.aggregation.rules.multi_krum": ["MultiKrum"],
    "raysplit.aggregation.rules.nearest_neighbour_mixing": ["NearestNeighbourMixing"],
    "raysplit.aggregation.rules.norm_clipping": ["NormClipping"],
    "raysplit.aggregation.rules.adaptive_robust_clipping": ["AdaptiveRobustClipping"],
    "raysplit.aggregation.rules.clipping": ["Clipping"],
    "raysplit.aggregation.rules.crfl": ["CRFL"],
    "raysplit.aggregation.rules.start_at_round": ["StartAtRound"],
    "raysplit.aggregation.rules.divide_and_conquer": ["DivideAndConquer"],
    "raysplit.aggregation.rules.flame": ["FLAME"],
    "raysplit.aggregation.rules.fltrust": ["FLTrust"],
    "raysplit.aggregation.rules.fools_gold": ["FoolsGold"],
    "raysplit.aggregation.rules.sign_guard": ["SignGuard"],
    "raysplit.defenses.detection.detection": ["Detection"],
    "raysplit.defenses.detection.gradient_screen": ["GradientScreen"],
    "raysplit.defenses.detection.label_screen": ["LabelScreen"],
    "raysplit.defenses.detection.safe_split": ["SafeSplit"],
    "raysplit.defenses.detection.smashed_screen": ["SmashedScreen"],
    "raysplit.errors": ["UserError"],
    "raysplit.analysis.runs.run": ["Run", "open_run"],
    "raysplit.app.running.run": ["run"],
    "raysplit.models.alexnet": ["AlexNet", "AlexNetImageNet", "alexnet", "alexnet_imagenet"],
    "raysplit.models.bag_of_words": ["BagOfWords", "bag_of_words"],
    "raysplit.models.femnist_cnn": ["FemnistCnn", "LeafCnn", "femnist_cnn", "leaf_cnn"],
    "raysplit.models.gin": ["Gin", "gin"],
    "raysplit.models.lenet": ["LeNet", "lenet"],
    "raysplit.models.resnet": ["ResNet18", "resnet18"],
    "raysplit.models.sequential": ["Sequential", "sequential"],
    "raysplit.models.stacked_lstm": ["StackedLstm", "sent140_lstm", "shakespeare_lstm", "stacked_lstm"],
    "raysplit.models.torchvision_model": ["TorchvisionModel", "torchvision_model"],
    "raysplit.models.unsplit": ["UnSplitCifar", "UnSplitMnist", "unsplit_cifar", "unsplit_mnist"],
    "raysplit.models.vgg": ["Vgg11", "Vgg16", "vgg11", "vgg16"],
    "raysplit.parts.part": ["part"],
    "raysplit.population.arrow": ["ArrowFile"],
    "raysplit.population.sets.att_faces": ["att_faces"],
    "raysplit.population.sets.cifar10": ["cifar10"],
    "raysplit.population.sets.digits": ["Digits", "digits"],
    "raysplit.population.sets.fashion_mnist": ["fashion_mnist"],
    "raysplit.population.selection.availability": ["DayNight", "TraceFile"],
    "raysplit.population.selection.cohort": ["Cohort"],
    "raysplit.population.selection.draws": ["FixedRing", "Poisson", "RoundRobin", "Uniform", "Weighted"],
    "raysplit.population.selection.dropouts": ["Dropouts"],
    "raysplit.population.sets.femnist": ["femnist"],
    "raysplit.population.sets.ham10000": ["ham10000"],
    "raysplit.population.sets.mnist": ["mnist"],
    "raysplit.population.sets.own_data": ["image_folder", "table"],
    "raysplit.population.partition.classes_per_client": ["ClassesPerClient"],
    "raysplit.population.partition.dirichlet": ["Dirichlet"],
    "raysplit.population.partition.feature_skew": ["NoiseLevels", "Rotations"],
    "raysplit.population.partition.iid": ["Iid"],
    "raysplit.population.partition.natural": ["Natural"],
    "raysplit.population.partition.partitioned": ["Partitioned", "partitioned"],
    "raysplit.population.partition.quantity_skew": ["LogNormalSizes", "QuantitySkew"],
    "raysplit.population.partition.shards": ["Shards"],
    "raysplit.population.partition.subset": ["Subset", "subset"],
    "raysplit.population.handwriting.synthetic": ["SyntheticWriters", "synthetic_writers"],
    "raysplit.population.text.synthetic": ["SyntheticRoles", "synthetic_roles"],
    "raysplit.population.sets.tudataset": ["tudataset"],
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
    "raysplit.protocols.extended_split": ["ExtendedSplit"],
    "raysplit.protocols.multi_task_split": ["MultiTaskSplit", "Task"],
    "raysplit.protocols.vertical_split": ["VerticalSplit"],
    "raysplit.scenario.grid": ["grid"],
    "raysplit.scenario.scenario": ["Evaluation", "Scenario"],
    "raysplit.training.optimizers": ["Adam", "Sgd"],
    "raysplit.training.settings": ["CosineDecay", "FedOpt", "StepDecay", "Training"],
}
"""Module → the names in it that are public."""
_HOME_OF = {name: module for module, names in HOMES.items() for name in names}

__version__ = "0.1.0"
__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'raysplit' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__", "contracts"]
