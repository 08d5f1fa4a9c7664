"""What people who extend RaySplit import: what a class of their own must answer, what it is shown, what it returns.

- Every such class is a ``part`` (a frozen dataclass whose fields are checked); ``within`` and ``ScenarioError`` are for
  checks of its own, ``stream`` for random numbers that are the same on every host.
- An aggregation rule: ``AggregationRule`` gives an ``Aggregate`` from a ``RoundContext`` (``GeometryRule``: over
  a ``Geometry``, wherever the columns lie); ``PreAggregation`` is put before a rule.
- An attack: ``Attack``, with the ``ThreatModel`` of ``Channel`` s that it sees and changes.
  On updates: ``UpdateAttack``, ``UpdateView`` → ``Poison``. On training data: ``DataAttack``, ``DataView`` →
  ``Samples``; where its success is measured ``MeasuredAttack``, at the cut ``MeasuredAtCut``, with a ``TestView``. On
  messages: ``MessageAttack``, ``Message`` and ``MessageView`` → ``Message``.
- An attack by a main server that learns from message to message: ``HookAttack``, opened with an ``AttackStart``, acts
  through a ``MessageHook`` of its own.
- An attack by a malicious client that learns: ``StepAttack``, opened with a ``StepStart``, takes its client's split
  steps into its own hands: ``MaliciousSteps``, each a ``ClientStep`` at a ``StepAddress``.
- An inference attack: ``InferenceAttack``, ``Observed`` and ``Knowledge`` (with ``Auxiliary`` data, and the
  ``LocalTraining`` behind updates) → ``Reconstruction``; it declares a ``Goal``, the ``Channel`` s that it reads and
  the ``Fact`` s that it needs.
- A hook on messages, at the end of one ``Party``: ``MessageHook``, opened with a ``HookStart``; it may change a
  ``Message``, observe it (→ ``State``), judge a split step (→ ``Ruling``) or go back to a ``Snapshot``, and remembers
  ``Memory``.
- A detector at the main server: ``Screen``, ``SplitStepView`` → ``Verdict``; ``Rollback``, ``LocalRoundView`` →
  ``Judgement``.
- A defence of messages, of an honest party: ``SmashedDefense``, ``GradientDefense``, ``LossDefense`` or
  ``LabelDefense``; all but the third are shown a ``DefenseView``.
- A protocol: ``TrainingProtocol``, the types of its answers, and ``Requirement``, what a component may ask of it.
- A model: ``ModelSpec``.
- A population: ``PopulationSpec`` opens a ``Population`` of ``Samples``, described by its ``PopulationInfo``;
  ``Partitioner`` deals a ``Pool``, ``FeatureSkew`` changes what clients see, ``Draw`` draws cohorts from a ``Crowd``,
  ``Availability`` says who is there. ``Fleet`` gives clients machines, ``StragglerPolicy`` says who is too late.
- Training: ``GradientRule``, with the ``ClientSlot`` that trains and its ``BackwardPass`` → ``Gradients``
  (``MeanGradient`` is the plain one); ``OptimizerSpec``, ``Schedule``.

The pages of docs/how-to show each at work. What is not here or in ``raysplit`` may change without notice.
"""

from raysplit.aggregation.geometry import Geometry
from raysplit.aggregation.rule import Aggregate, AggregationRule, GeometryRule, RoundContext
from raysplit.aggregation.rules.composed import PreAggregation
from raysplit.aggregation.update_attack import (
    Poison,
    UpdateAttack,
    UpdateView,
    check_start_round,
    updates_threat,
    visible_honest,
)
from raysplit.attacks.attack import Attack
from raysplit.attacks.data.data_attack import (
    DATA_THREAT,
    DataAttack,
    DataView,
    MeasuredAtCut,
    MeasuredAttack,
    TestView,
    pick,
    relabelled,
)
from raysplit.attacks.inference.adversary import Fact
from raysplit.attacks.inference.inference_attack import (
    Goal,
    InferenceAttack,
    Knowledge,
    Observed,
    Reconstruction,
)
from raysplit.attacks.inference.local_training import LocalTraining
from raysplit.attacks.inference.target import Auxiliary
from raysplit.attacks.messages.hook_attack import AttackStart, HookAttack
from raysplit.attacks.messages.message_attack import MessageAttack, MessageView, client_threat, server_threat
from raysplit.attacks.steps.step_attack import MaliciousSteps, StepAttack, StepStart
from raysplit.channels.channel import Channel, Party, ThreatModel
from raysplit.channels.hooks import AnsweredStep, HookStart, MessageHook, Ruling, Snapshot
from raysplit.channels.message import Message, Score, StepAddress
from raysplit.defenses.detection.client_detector import (
    AnsweredView,
    BatchView,
    ClientDetector,
    ClientVerdict,
    OwnData,
)
from raysplit.defenses.detection.detection import (
    Judgement,
    LocalRoundView,
    Rollback,
    Screen,
    SplitStepView,
    Verdict,
)
from raysplit.defenses.messages.message_defense import (
    DefenseView,
    GradientDefense,
    LabelDefense,
    LossDefense,
    SmashedDefense,
)
from raysplit.errors import PopulationError, ScenarioError
from raysplit.memory.memory import Memory, State
from raysplit.models.network import ModelSpec
from raysplit.parts.part import part, within
from raysplit.population.partition.feature_skew import FeatureSkew
from raysplit.population.partition.partitioner import Partitioner
from raysplit.population.partition.pool import Pool
from raysplit.population.population import Population, PopulationInfo, PopulationSpec, Samples
from raysplit.population.selection.availability import Availability
from raysplit.population.selection.draws import Crowd, Draw
from raysplit.protocols.protocol import (
    ClientState,
    ClientSync,
    Order,
    ServerPortion,
    ServerState,
    ServerStep,
    Synchrony,
    TrainingProtocol,
)
from raysplit.protocols.requirements import Requirement
from raysplit.rng import stream
from raysplit.scenario.devices import Fleet
from raysplit.scenario.stragglers import StragglerPolicy
from raysplit.training.client_step import ClientStep
from raysplit.training.gradient_rules import BackwardPass, GradientRule, MeanGradient
from raysplit.training.optimizers import Gradients, OptimizerSpec
from raysplit.training.parties import ClientSlot
from raysplit.training.settings import Schedule

__all__ = [
    "DATA_THREAT",
    "Aggregate",
    "AggregationRule",
    "AnsweredStep",
    "AnsweredView",
    "Attack",
    "AttackStart",
    "Auxiliary",
    "Availability",
    "BackwardPass",
    "BatchView",
    "Channel",
    "ClientDetector",
    "ClientSlot",
    "ClientState",
    "ClientStep",
    "ClientSync",
    "ClientVerdict",
    "Crowd",
    "DataAttack",
    "DataView",
    "DefenseView",
    "Draw",
    "Fact",
    "FeatureSkew",
    "Fleet",
    "Geometry",
    "GeometryRule",
    "Goal",
    "GradientDefense",
    "GradientRule",
    "Gradients",
    "HookAttack",
    "HookStart",
    "InferenceAttack",
    "Judgement",
    "Knowledge",
    "LabelDefense",
    "LocalRoundView",
    "LocalTraining",
    "LossDefense",
    "MaliciousSteps",
    "MeanGradient",
    "MeasuredAtCut",
    "MeasuredAttack",
    "Memory",
    "Message",
    "MessageAttack",
    "MessageHook",
    "MessageView",
    "ModelSpec",
    "Observed",
    "OptimizerSpec",
    "Order",
    "OwnData",
    "Partitioner",
    "Party",
    "Poison",
    "Pool",
    "Population",
    "PopulationError",
    "PopulationInfo",
    "PopulationSpec",
    "PreAggregation",
    "Reconstruction",
    "Requirement",
    "Rollback",
    "RoundContext",
    "Ruling",
    "Samples",
    "ScenarioError",
    "Schedule",
    "Score",
    "Screen",
    "ServerPortion",
    "ServerState",
    "ServerStep",
    "SmashedDefense",
    "Snapshot",
    "SplitStepView",
    "State",
    "StepAddress",
    "StepAttack",
    "StepStart",
    "StragglerPolicy",
    "Synchrony",
    "TestView",
    "ThreatModel",
    "TrainingProtocol",
    "UpdateAttack",
    "UpdateView",
    "Verdict",
    "check_start_round",
    "client_threat",
    "part",
    "pick",
    "relabelled",
    "server_threat",
    "stream",
    "updates_threat",
    "visible_honest",
    "within",
]
