"""What raysplit/__init__.py imports when it is asked for. Written by tools/public_names.py."""

from raysplit.aggregation.rules.adaptive_robust_clipping import AdaptiveRobustClipping as AdaptiveRobustClipping
from raysplit.aggregation.rules.bucketing import Bucketing as Bucketing
from raysplit.aggregation.rules.bulyan import Bulyan as Bulyan
from raysplit.aggregation.rules.centred_clipping import CentredClipping as CentredClipping
from raysplit.aggregation.rules.clipping import Clipping as Clipping
from raysplit.aggregation.rules.composed import Composed as Composed
from raysplit.aggregation.rules.crfl import CRFL as CRFL
from raysplit.aggregation.rules.divide_and_conquer import DivideAndConquer as DivideAndConquer
from raysplit.aggregation.rules.dp_fedavg import DpFedAvg as DpFedAvg
from raysplit.aggregation.rules.flame import FLAME as FLAME
from raysplit.aggregation.rules.fltrust import FLTrust as FLTrust
from raysplit.aggregation.rules.fools_gold import FoolsGold as FoolsGold
from raysplit.aggregation.rules.geometric_median import GeometricMedian as GeometricMedian
from raysplit.aggregation.rules.krum import Krum as Krum
from raysplit.aggregation.rules.mean import Mean as Mean
from raysplit.aggregation.rules.mean_around_median import MeanAroundMedian as MeanAroundMedian
from raysplit.aggregation.rules.median import Median as Median
from raysplit.aggregation.rules.multi_krum import MultiKrum as MultiKrum
from raysplit.aggregation.rules.nearest_neighbour_mixing import NearestNeighbourMixing as NearestNeighbourMixing
from raysplit.aggregation.rules.norm_clipping import NormClipping as NormClipping
from raysplit.aggregation.rules.secure_aggregation import SecureAggregation as SecureAggregation
from raysplit.aggregation.rules.sign_guard import SignGuard as SignGuard
from raysplit.aggregation.rules.start_at_round import StartAtRound as StartAtRound
from raysplit.aggregation.rules.trimmed_mean import TrimmedMean as TrimmedMean
from raysplit.analysis.inference.of_run import infer as infer
from raysplit.analysis.runs.drift import portion_drift as portion_drift
from raysplit.analysis.runs.run import Run as Run
from raysplit.analysis.runs.run import open_run as open_run
from raysplit.app.running.run import run as run
from raysplit.attacks.attack import CompositeAttack as CompositeAttack
from raysplit.attacks.data.backdoor import DistributedBackdoor as DistributedBackdoor
from raysplit.attacks.data.backdoor import PixelBackdoor as PixelBackdoor
from raysplit.attacks.data.edge_case import EdgeCaseBackdoor as EdgeCaseBackdoor
from raysplit.attacks.data.farthest_flip import FarthestLabelFlip as FarthestLabelFlip
from raysplit.attacks.data.label_flip import LabelFlip as LabelFlip
from raysplit.attacks.data.label_flip import TargetedLabelFlip as TargetedLabelFlip
from raysplit.attacks.data.semantic import Brightness as Brightness
from raysplit.attacks.data.semantic import ListedSamples as ListedSamples
from raysplit.attacks.data.semantic import OwnedBy as OwnedBy
from raysplit.attacks.data.semantic import SemanticBackdoor as SemanticBackdoor
from raysplit.attacks.data.trigger import Patch as Patch
from raysplit.attacks.inference.adversary import Adversary as Adversary
from raysplit.attacks.inference.calibrated_membership import CalibratedMembership as CalibratedMembership
from raysplit.attacks.inference.cluster_labels import ClusterLabels as ClusterLabels
from raysplit.attacks.inference.cut_gradient_membership import CutGradientMembership as CutGradientMembership
from raysplit.attacks.inference.decoders import DecoderTraining as DecoderTraining
from raysplit.attacks.inference.dense_layer_inversion import DenseLayerInversion as DenseLayerInversion
from raysplit.attacks.inference.direction_labels import DirectionLabels as DirectionLabels
from raysplit.attacks.inference.fora import Fora as Fora
from raysplit.attacks.inference.generated import GeneratedSamples as GeneratedSamples
from raysplit.attacks.inference.gradient_inversion import GradientInversion as GradientInversion
from raysplit.attacks.inference.gradient_matching_labels import GradientMatchingLabels as GradientMatchingLabels
from raysplit.attacks.inference.hijacked import HijackedInversion as HijackedInversion
from raysplit.attacks.inference.inversion import ImagePrior as ImagePrior
from raysplit.attacks.inference.loss_membership import LossMembership as LossMembership
from raysplit.attacks.inference.model_completion import ModelCompletion as ModelCompletion
from raysplit.attacks.inference.model_extraction import ModelExtraction as ModelExtraction
from raysplit.attacks.inference.norm_labels import NormLabels as NormLabels
from raysplit.attacks.inference.observe import Observe as Observe
from raysplit.attacks.inference.query_decoder import QueryDecoder as QueryDecoder
from raysplit.attacks.inference.query_free import QueryFree as QueryFree
from raysplit.attacks.inference.sdar import Sdar as Sdar
from raysplit.attacks.inference.sign_labels import SignLabels as SignLabels
from raysplit.attacks.inference.unsplit import UnSplit as UnSplit
from raysplit.attacks.inference.white_box import WhiteBoxInversion as WhiteBoxInversion
from raysplit.attacks.messages.ascent import SmashedAscent as SmashedAscent
from raysplit.attacks.messages.backdoor import SmashedBackdoor as SmashedBackdoor
from raysplit.attacks.messages.feature_gradients import FeatureGradientTampering as FeatureGradientTampering
from raysplit.attacks.messages.feature_space_hijacking import FeatureSpaceHijacking as FeatureSpaceHijacking
from raysplit.attacks.messages.label_aware_hijacking import LabelAwareHijacking as LabelAwareHijacking
from raysplit.attacks.messages.labels import WireLabelFlip as WireLabelFlip
from raysplit.attacks.messages.malicious_server import ServerSteering as ServerSteering
from raysplit.attacks.messages.malicious_server import ServerTampering as ServerTampering
from raysplit.attacks.messages.misalignment import Misalignment as Misalignment
from raysplit.attacks.messages.noise import SmashedNoise as SmashedNoise
from raysplit.attacks.messages.random_labels import RandomLabels as RandomLabels
from raysplit.attacks.messages.replacement import FeatureReplacement as FeatureReplacement
from raysplit.attacks.messages.tailored import SmashedTailored as SmashedTailored
from raysplit.attacks.scheduled import Scheduled as Scheduled
from raysplit.attacks.steps.gan import GanAttack as GanAttack
from raysplit.attacks.updates.agr_tailored import AgrTailored as AgrTailored
from raysplit.attacks.updates.fang import Fang as Fang
from raysplit.attacks.updates.fang_krum import FangKrum as FangKrum
from raysplit.attacks.updates.gaussian import GaussianNoise as GaussianNoise
from raysplit.attacks.updates.ipm import InnerProductManipulation as InnerProductManipulation
from raysplit.attacks.updates.lie import LittleIsEnough as LittleIsEnough
from raysplit.attacks.updates.mimic import Mimic as Mimic
from raysplit.attacks.updates.min_max import MinMax as MinMax
from raysplit.attacks.updates.min_sum import MinSum as MinSum
from raysplit.attacks.updates.model_replacement import ModelReplacement as ModelReplacement
from raysplit.attacks.updates.neurotoxin import Neurotoxin as Neurotoxin
from raysplit.attacks.updates.on_server_replicas import OnServerReplicas as OnServerReplicas
from raysplit.attacks.updates.optimal_ipm import OptimalInnerProductManipulation as OptimalInnerProductManipulation
from raysplit.attacks.updates.optimal_lie import OptimalLittleIsEnough as OptimalLittleIsEnough
from raysplit.attacks.updates.sign_flip import SignFlip as SignFlip
from raysplit.defenses.detection.detection import Detection as Detection
from raysplit.defenses.detection.gradient_screen import GradientScreen as GradientScreen
from raysplit.defenses.detection.label_screen import LabelScreen as LabelScreen
from raysplit.defenses.detection.safe_split import SafeSplit as SafeSplit
from raysplit.defenses.detection.scrutinizer import GradientsScrutinizer as GradientsScrutinizer
from raysplit.defenses.detection.smashed_screen import SmashedScreen as SmashedScreen
from raysplit.defenses.detection.split_guard import SplitGuard as SplitGuard
from raysplit.defenses.detection.split_out import SplitOut as SplitOut
from raysplit.defenses.messages.dropout import SmashedDropout as SmashedDropout
from raysplit.defenses.messages.gradient_norms import GradientNormMasking as GradientNormMasking
from raysplit.defenses.messages.marvell import Marvell as Marvell
from raysplit.defenses.messages.no_peek import NoPeek as NoPeek
from raysplit.defenses.messages.noise import AdditiveNoise as AdditiveNoise
from raysplit.defenses.messages.quantisation import Quantisation as Quantisation
from raysplit.defenses.messages.randomised_response import RandomisedResponse as RandomisedResponse
from raysplit.defenses.messages.top_k import TopK as TopK
from raysplit.defenses.privacy.per_example_clipping import PerExampleClipping as PerExampleClipping
from raysplit.errors import UserError as UserError
from raysplit.models.alexnet import AlexNet as AlexNet
from raysplit.models.alexnet import AlexNetImageNet as AlexNetImageNet
from raysplit.models.alexnet import alexnet as alexnet
from raysplit.models.alexnet import alexnet_imagenet as alexnet_imagenet
from raysplit.models.bag_of_words import BagOfWords as BagOfWords
from raysplit.models.bag_of_words import bag_of_words as bag_of_words
from raysplit.models.femnist_cnn import FemnistCnn as FemnistCnn
from raysplit.models.femnist_cnn import LeafCnn as LeafCnn
from raysplit.models.femnist_cnn import femnist_cnn as femnist_cnn
from raysplit.models.femnist_cnn import leaf_cnn as leaf_cnn
from raysplit.models.gin import Gin as Gin
from raysplit.models.gin import gin as gin
from raysplit.models.lenet import LeNet as LeNet
from raysplit.models.lenet import lenet as lenet
from raysplit.models.noise.pixel_dp import PixelDp as PixelDp
from raysplit.models.resnet import ResNet18 as ResNet18
from raysplit.models.resnet import resnet18 as resnet18
from raysplit.models.sequential import Sequential as Sequential
from raysplit.models.sequential import sequential as sequential
from raysplit.models.stacked_lstm import StackedLstm as StackedLstm
from raysplit.models.stacked_lstm import sent140_lstm as sent140_lstm
from raysplit.models.stacked_lstm import shakespeare_lstm as shakespeare_lstm
from raysplit.models.stacked_lstm import stacked_lstm as stacked_lstm
from raysplit.models.torchvision_model import TorchvisionModel as TorchvisionModel
from raysplit.models.torchvision_model import torchvision_model as torchvision_model
from raysplit.models.unsplit import UnSplitCifar as UnSplitCifar
from raysplit.models.unsplit import UnSplitMnist as UnSplitMnist
from raysplit.models.unsplit import unsplit_cifar as unsplit_cifar
from raysplit.models.unsplit import unsplit_mnist as unsplit_mnist
from raysplit.models.vgg import Vgg11 as Vgg11
from raysplit.models.vgg import Vgg16 as Vgg16
from raysplit.models.vgg import vgg11 as vgg11
from raysplit.models.vgg import vgg16 as vgg16
from raysplit.parts.part import part as part
from raysplit.population.arrow import ArrowFile as ArrowFile
from raysplit.population.handwriting.synthetic import SyntheticWriters as SyntheticWriters
from raysplit.population.handwriting.synthetic import synthetic_writers as synthetic_writers
from raysplit.population.partition.by_user import ByUser as ByUser
from raysplit.population.partition.by_user import by_user as by_user
from raysplit.population.partition.classes_per_client import ClassesPerClient as ClassesPerClient
from raysplit.population.partition.dirichlet import Dirichlet as Dirichlet
from raysplit.population.partition.feature_skew import NoiseLevels as NoiseLevels
from raysplit.population.partition.feature_skew import Rotations as Rotations
from raysplit.population.partition.iid import Iid as Iid
from raysplit.population.partition.natural import Natural as Natural
from raysplit.population.partition.partitioned import Partitioned as Partitioned
from raysplit.population.partition.partitioned import partitioned as partitioned
from raysplit.population.partition.quantity_skew import LogNormalSizes as LogNormalSizes
from raysplit.population.partition.quantity_skew import QuantitySkew as QuantitySkew
from raysplit.population.partition.shards import Shards as Shards
from raysplit.population.partition.subset import Subset as Subset
from raysplit.population.partition.subset import subset as subset
from raysplit.population.selection.availability import DayNight as DayNight
from raysplit.population.selection.availability import TraceFile as TraceFile
from raysplit.population.selection.cohort import Cohort as Cohort
from raysplit.population.selection.draws import FixedRing as FixedRing
from raysplit.population.selection.draws import Poisson as Poisson
from raysplit.population.selection.draws import RoundRobin as RoundRobin
from raysplit.population.selection.draws import Uniform as Uniform
from raysplit.population.selection.draws import Weighted as Weighted
from raysplit.population.selection.dropouts import Dropouts as Dropouts
from raysplit.population.sets.att_faces import att_faces as att_faces
from raysplit.population.sets.cifar10 import cifar10 as cifar10
from raysplit.population.sets.digits import Digits as Digits
from raysplit.population.sets.digits import digits as digits
from raysplit.population.sets.emnist import emnist as emnist
from raysplit.population.sets.fashion_mnist import fashion_mnist as fashion_mnist
from raysplit.population.sets.femnist import femnist as femnist
from raysplit.population.sets.ham10000 import ham10000 as ham10000
from raysplit.population.sets.mnist import mnist as mnist
from raysplit.population.sets.own_data import image_folder as image_folder
from raysplit.population.sets.own_data import table as table
from raysplit.population.sets.sent140 import sent140 as sent140
from raysplit.population.sets.shakespeare import shakespeare as shakespeare
from raysplit.population.sets.tudataset import tudataset as tudataset
from raysplit.population.text.synthetic import SyntheticRoles as SyntheticRoles
from raysplit.population.text.synthetic import synthetic_roles as synthetic_roles
from raysplit.protocols.buffered import BufferedSplitFed as BufferedSplitFed
from raysplit.protocols.buffered import Speeds as Speeds
from raysplit.protocols.centralized import Centralized as Centralized
from raysplit.protocols.cycle_sl import CyclePsl as CyclePsl
from raysplit.protocols.cycle_sl import CycleSfl as CycleSfl
from raysplit.protocols.extended_split import ExtendedSplit as ExtendedSplit
from raysplit.protocols.fedavg import FedAvg as FedAvg
from raysplit.protocols.loss_drop import AsyncSplitFed as AsyncSplitFed
from raysplit.protocols.loss_drop import AsyncSplitLearning as AsyncSplitLearning
from raysplit.protocols.minibatch_sfl import MiniBatchSfl as MiniBatchSfl
from raysplit.protocols.multi_task_split import MultiTaskSplit as MultiTaskSplit
from raysplit.protocols.multi_task_split import Task as Task
from raysplit.protocols.parallel_sl import ParallelSl as ParallelSl
from raysplit.protocols.sglr import Sglr as Sglr
from raysplit.protocols.split_learning import SplitLearning as SplitLearning
from raysplit.protocols.splitfed_v1 import SplitFedV1 as SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2 as SplitFedV2
from raysplit.protocols.splitfed_v3 import SplitFedV3 as SplitFedV3
from raysplit.protocols.vertical_split import VerticalSplit as VerticalSplit
from raysplit.scenario.devices import DATACENTER as DATACENTER
from raysplit.scenario.devices import LAPTOP as LAPTOP
from raysplit.scenario.devices import PHONE as PHONE
from raysplit.scenario.devices import SENSOR as SENSOR
from raysplit.scenario.devices import DeviceClass as DeviceClass
from raysplit.scenario.devices import DeviceClasses as DeviceClasses
from raysplit.scenario.devices import DeviceProfile as DeviceProfile
from raysplit.scenario.devices import Devices as Devices
from raysplit.scenario.devices import LogNormalDevices as LogNormalDevices
from raysplit.scenario.frontier import Frontier as Frontier
from raysplit.scenario.grid import grid as grid
from raysplit.scenario.scenario import Evaluation as Evaluation
from raysplit.scenario.scenario import Scenario as Scenario
from raysplit.scenario.stragglers import Buffer as Buffer
from raysplit.scenario.stragglers import Deadline as Deadline
from raysplit.scenario.stragglers import Drop as Drop
from raysplit.scenario.stragglers import Wait as Wait
from raysplit.training.optimizers import Adam as Adam
from raysplit.training.optimizers import Sgd as Sgd
from raysplit.training.settings import CosineDecay as CosineDecay
from raysplit.training.settings import FedOpt as FedOpt
from raysplit.training.settings import StepDecay as StepDecay
from raysplit.training.settings import Training as Training

HOMES: dict[str, list[str]]
__version__: str
__all__ = [
    "CRFL",
    "DATACENTER",
    "FLAME",
    "LAPTOP",
    "PHONE",
    "SENSOR",
    "Adam",
    "AdaptiveRobustClipping",
    "AdditiveNoise",
    "Adversary",
    "AgrTailored",
    "AlexNet",
    "AlexNetImageNet",
    "ArrowFile",
    "AsyncSplitFed",
    "AsyncSplitLearning",
    "BagOfWords",
    "Brightness",
    "Bucketing",
    "Buffer",
    "BufferedSplitFed",
    "Bulyan",
    "ByUser",
    "CalibratedMembership",
    "Centralized",
    "CentredClipping",
    "ClassesPerClient",
    "Clipping",
    "ClusterLabels",
    "Cohort",
    "Composed",
    "CompositeAttack",
    "CosineDecay",
    "CutGradientMembership",
    "CyclePsl",
    "CycleSfl",
    "DayNight",
    "Deadline",
    "DecoderTraining",
    "DenseLayerInversion",
    "Detection",
    "DeviceClass",
    "DeviceClasses",
    "DeviceProfile",
    "Devices",
    "Digits",
    "DirectionLabels",
    "Dirichlet",
    "DistributedBackdoor",
    "DivideAndConquer",
    "DpFedAvg",
    "Drop",
    "Dropouts",
    "EdgeCaseBackdoor",
    "Evaluation",
    "ExtendedSplit",
    "FLTrust",
    "Fang",
    "FangKrum",
    "FarthestLabelFlip",
    "FeatureGradientTampering",
    "FeatureReplacement",
    "FeatureSpaceHijacking",
    "FedAvg",
    "FedOpt",
    "FemnistCnn",
    "FixedRing",
    "FoolsGold",
    "Fora",
    "Frontier",
    "GanAttack",
    "GaussianNoise",
    "GeneratedSamples",
    "GeometricMedian",
    "Gin",
    "GradientInversion",
    "GradientMatchingLabels",
    "GradientNormMasking",
    "GradientScreen",
    "GradientsScrutinizer",
    "HijackedInversion",
    "Iid",
    "ImagePrior",
    "InnerProductManipulation",
    "Krum",
    "LabelAwareHijacking",
    "LabelFlip",
    "LabelScreen",
    "LeNet",
    "LeafCnn",
    "ListedSamples",
    "LittleIsEnough",
    "LogNormalDevices",
    "LogNormalSizes",
    "LossMembership",
    "Marvell",
    "Mean",
    "MeanAroundMedian",
    "Median",
    "Mimic",
    "MinMax",
    "MinSum",
    "MiniBatchSfl",
    "Misalignment",
    "ModelCompletion",
    "ModelExtraction",
    "ModelReplacement",
    "MultiKrum",
    "MultiTaskSplit",
    "Natural",
    "NearestNeighbourMixing",
    "Neurotoxin",
    "NoPeek",
    "NoiseLevels",
    "NormClipping",
    "NormLabels",
    "Observe",
    "OnServerReplicas",
    "OptimalInnerProductManipulation",
    "OptimalLittleIsEnough",
    "OwnedBy",
    "ParallelSl",
    "Partitioned",
    "Patch",
    "PerExampleClipping",
    "PixelBackdoor",
    "PixelDp",
    "Poisson",
    "Quantisation",
    "QuantitySkew",
    "QueryDecoder",
    "QueryFree",
    "RandomLabels",
    "RandomisedResponse",
    "ResNet18",
    "Rotations",
    "RoundRobin",
    "Run",
    "SafeSplit",
    "Scenario",
    "Scheduled",
    "Sdar",
    "SecureAggregation",
    "SemanticBackdoor",
    "Sequential",
    "ServerSteering",
    "ServerTampering",
    "Sgd",
    "Sglr",
    "Shards",
    "SignFlip",
    "SignGuard",
    "SignLabels",
    "SmashedAscent",
    "SmashedBackdoor",
    "SmashedDropout",
    "SmashedNoise",
    "SmashedScreen",
    "SmashedTailored",
    "Speeds",
    "SplitFedV1",
    "SplitFedV2",
    "SplitFedV3",
    "SplitGuard",
    "SplitLearning",
    "SplitOut",
    "StackedLstm",
    "StartAtRound",
    "StepDecay",
    "Subset",
    "SyntheticRoles",
    "SyntheticWriters",
    "TargetedLabelFlip",
    "Task",
    "TopK",
    "TorchvisionModel",
    "TraceFile",
    "Training",
    "TrimmedMean",
    "UnSplit",
    "UnSplitCifar",
    "UnSplitMnist",
    "Uniform",
    "UserError",
    "VerticalSplit",
    "Vgg11",
    "Vgg16",
    "Wait",
    "Weighted",
    "WhiteBoxInversion",
    "WireLabelFlip",
    "alexnet",
    "alexnet_imagenet",
    "att_faces",
    "bag_of_words",
    "by_user",
    "cifar10",
    "digits",
    "emnist",
    "fashion_mnist",
    "femnist",
    "femnist_cnn",
    "gin",
    "grid",
    "ham10000",
    "image_folder",
    "infer",
    "leaf_cnn",
    "lenet",
    "mnist",
    "open_run",
    "part",
    "partitioned",
    "portion_drift",
    "resnet18",
    "run",
    "sent140",
    "sent140_lstm",
    "sequential",
    "shakespeare",
    "shakespeare_lstm",
    "stacked_lstm",
    "subset",
    "synthetic_roles",
    "synthetic_writers",
    "table",
    "torchvision_model",
    "tudataset",
    "unsplit_cifar",
    "unsplit_mnist",
    "vgg11",
    "vgg16",
]
