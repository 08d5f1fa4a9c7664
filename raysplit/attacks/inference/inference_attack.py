"""The contract of inference attacks, and the only ways in which they learn anything.

An attack is a pure function of what was observed and what is known: ``infer(observed, knowledge)``. Both hand out what
the attack has declared and the adversary has, and nothing else, so a threat model is enforced, not promised.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import nn

from raysplit import rng
from raysplit.attacks.inference.adversary import LEARNED_BY, Adversary, Fact
from raysplit.attacks.inference.local_training import LocalTraining
from raysplit.channels.channel import Channel
from raysplit.errors import ScenarioError
from raysplit.parts.contract import answer, contract
from raysplit.protocols.protocol import TrainingProtocol
from raysplit.protocols.requirements import Requirement

Goal = Literal["inputs", "labels", "samples", "membership"]


@dataclass(frozen=True)
class Reconstruction:
    """What an attack made of n observed samples. ``inputs``: [n, C, H, W] as the network sees them; ``labels``: int64
    [n]; None: not attempted. ``clones``: of the client portion, one or more. ``labels_up_to_permutation``: whether
    labels are names of clusters only. ``positive_scores``: float [n], the higher, the likelier a sample is of
    ``positive_class``; no threshold is meant. ``queries``: how many inputs the client portion was asked about.
    ``samples``: [m, C, H, W], made after the data of class ``samples_of``, of no observed sample in particular.
    ``membership_scores``: float [n], the higher, the likelier a candidate was trained on. From an update, samples of one
    client are in any order: they are matched to the true ones when they are scored. ``chosen``: what won where several
    were tried, in words, and by what."""

    inputs: torch.Tensor | None = None
    labels: torch.Tensor | None = None
    clones: tuple[nn.Module, ...] = ()
    labels_up_to_permutation: bool = False
    positive_scores: torch.Tensor | None = None
    positive_class: int = 1
    queries: int = 0
    samples: torch.Tensor | None = None
    samples_of: int = 0
    membership_scores: torch.Tensor | None = None
    chosen: str = ""


@contract("an inference attack")
class InferenceAttack:
    """The contract of inference attacks: a frozen part derives from it and gives ``goal``, ``reads`` and ``infer``."""

    @answer
    @abstractmethod
    def goal(self) -> Goal:
        """What it is after, by which it is scored."""

    @answer
    @abstractmethod
    def reads(self) -> frozenset[Channel]:
        """The channels whose messages it reads."""

    @answer
    def needs(self) -> frozenset[Fact]:
        """What it must know besides."""
        return frozenset()

    @answer
    def reads_labels(self) -> bool:
        """Whether it reads the labels that travel with smashed data."""
        return False

    @answer
    def requires(self) -> Iterable[Requirement]:
        """What must hold of a scenario that it attacks."""
        return ()

    @abstractmethod
    def infer(self, observed: Observed, knowledge: Knowledge) -> Reconstruction:
        """What it makes of the samples in ``observed``, in their order. Random choices come from
        ``knowledge.generator``."""


class Observed:
    """Messages of n samples, a row each and all channels in the same order, as far as an attack declares to read them.

    ``batches``: int64 [n], which split step a sample belongs to; the rows of one are neighbours. Cut gradients carry
    1/B, B the size of the batch as it was sent, ``batch_sizes`` [n].

    An update is of all samples of its client: ``on(Channel.UPDATES)`` is [updates, d], a row W_k − W a client,
    parameters only, ``batches`` says which update a sample belongs to, and ``batch_sizes`` how many samples that is of.
    """

    def __init__(
        self,
        attack: InferenceAttack,
        messages: Mapping[Channel, torch.Tensor],
        batches: torch.Tensor,
        batch_sizes: torch.Tensor,
        labels: torch.Tensor | None = None,
    ) -> None:
        self._attack, self._messages, self._labels = attack, messages, labels
        self.batches, self.batch_sizes = batches, batch_sizes

    def __len__(self) -> int:
        return len(self.batches)

    def on(self, channel: Channel) -> torch.Tensor:
        """What crossed ``channel``, [n, …], or [updates, d]. Raises ``ScenarioError`` where the attack has not declared it."""
        name = type(self._attack).__name__
        if channel not in self._attack.reads:
            raise ScenarioError(f"{name} reads '{channel.value}', which it does not declare; add it to {name}.reads")
        if channel not in self._messages:
            raise ScenarioError(f"{name} reads '{channel.value}', which was not observed; name it in Observe.channels")
        return self._messages[channel]

    def labels(self) -> torch.Tensor:
        """The labels that came with smashed data, int64 [n]. Raises ``ScenarioError`` where the attack has not declared
        them or none came."""
        name = type(self._attack).__name__
        if not self._attack.reads_labels:
            raise ScenarioError(f"{name} reads labels, which it does not declare; give it reads_labels = True")
        if self._labels is None:
            raise ScenarioError(
                f"{name} reads labels, but none travelled with what was observed; attack a round of training, where they "
                "do, or use an attack that reads none"
            )
        return self._labels


@dataclass(frozen=True)
class Auxiliary:
    """Samples that are not the victims'. ``x``: [m, C, H, W] as the network sees them; ``y``: int64 [m]."""

    x: torch.Tensor
    y: torch.Tensor


@dataclass(frozen=True)
class TrainedGenerator:
    """Of class ``target``, by the malicious ``client``. ``generate``: a stream and a number m → [m, C, H, W];
    ``untrained``: the same of the generator with which it began."""

    client: int
    target: int
    generate: Callable[[torch.Generator, int], torch.Tensor]
    untrained: Callable[[torch.Generator, int], torch.Tensor]


@dataclass(frozen=True)
class Target:
    """All that there is to know; attacks get it through ``Knowledge`` only. ``untrained``: a client portion with fresh
    random weights, by number. ``client``: the true one, whose ``forward`` gives smashed data, in evaluation mode.
    ``sends``: from inputs to smashed data as the clients send them, each batch with noise of its own where they defend
    them; ``finish``: from smashed data to logits [n, classes], the rest of the model. ``low``, ``high``: between which values
    inputs lie.

    U-shaped, ``features``: the server portion, from smashed data to features; ``tail``: the clients' true one;
    ``untrained_tail``: one with fresh random weights, by number; ``tail_gradients``: of the true one, by parameter name,
    [split steps, …] each.
    ``labels``: the observed samples' true ones, int64 [n]. ``hijack``: from smashed data to inputs, as a hijacking
    learned it. ``generator``: as a malicious client has trained it.
    ``named_update``: from an update [d] to the client portion's parameters by name; ``local_training``: of
    the observed updates. ``candidates``: samples of which some were trained on. ``untrained_model``: a whole network
    with fresh random weights, by number."""

    seed: int
    input_shape: tuple[int, int, int]
    classes: int
    low: float
    high: float
    untrained: Callable[[int], nn.Module]
    client: nn.Module
    finish: Callable[[torch.Tensor], torch.Tensor]
    auxiliary: Auxiliary | None = None
    query_budget: int = 0
    features: Callable[[torch.Tensor], torch.Tensor] | None = None
    tail: nn.Module | None = None
    untrained_tail: Callable[[int], nn.Module] | None = None
    tail_gradients: Mapping[str, torch.Tensor] = field(default_factory=dict)
    labels: torch.Tensor | None = None
    hijack: Callable[[torch.Tensor], torch.Tensor] | None = None
    generator: TrainedGenerator | None = None
    named_update: Callable[[torch.Tensor], dict[str, torch.Tensor]] | None = None
    local_training: LocalTraining | None = None
    candidates: Auxiliary | None = None
    untrained_model: Callable[[int], nn.Module] | None = None
    sends: Callable[[torch.Tensor], torch.Tensor] | None = None

    def sent(self, x: torch.Tensor) -> torch.Tensor:
        """Smashed data [n, …] of inputs, as they leave a client."""
        return self.client(x) if self.sends is None else self.sends(x)


@dataclass
class Knowledge:
    """What an attack may know of its target: what it declares in ``needs``, and no more. ``told``: the observed samples
    whose labels it asked for, by index; they are no part of its scores."""

    attack: InferenceAttack
    target: Target
    queries: int = field(default=0, init=False)
    told: set[int] = field(default_factory=set, init=False)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return self.target.input_shape

    @property
    def classes(self) -> int:
        return self.target.classes

    @property
    def range(self) -> tuple[float, float]:
        """Between which values inputs lie."""
        return self.target.low, self.target.high

    def generator(self, purpose: str, *indices: int) -> torch.Generator:
        """A stream of random numbers of the run's seed, the attack and a purpose."""
        return rng.torch_stream(self.target.seed, f"inference {type(self.attack).__name__} {purpose}", *indices)

    def untrained_portion(self, index: int = 0) -> nn.Module:
        """A client portion of the true architecture with fresh random weights: number ``index`` of many."""
        self._declared("architecture")
        return self.target.untrained(index)

    def client_portion(self) -> nn.Module:
        """The true client portion, which the attack must leave as it is."""
        self._declared("client_weights")
        return self.target.client

    def finish(self, z: torch.Tensor) -> torch.Tensor:
        """Logits [n, classes] of smashed data, by the server's own portion. Gradients flow through it to ``z``. U-shaped,
        the last layers are the client's, so that this takes its weights too."""
        self._declared("server_weights")
        if self.target.tail is not None:
            self._declared("client_weights")
        return self.target.finish(z)

    @property
    def u_shaped(self) -> bool:
        """Whether the last layers are the clients'."""
        return self.target.tail is not None

    def features(self, z: torch.Tensor) -> torch.Tensor:
        """U-shaped: features of smashed data, by the server's own portion. Gradients flow through it to ``z``."""
        self._declared("server_weights")
        if self.target.features is None:
            raise self._no_tail()
        return self.target.features(z)

    def auxiliary(self) -> Auxiliary:
        """Samples that are not the victims'."""
        self._declared("auxiliary_data")
        assert self.target.auxiliary is not None
        return self.target.auxiliary

    def auxiliary_inputs(self) -> torch.Tensor:
        """Samples that are not the victims', without labels: [m, C, H, W] as the network sees them."""
        self._declared("auxiliary_inputs")
        assert self.target.auxiliary is not None
        return self.target.auxiliary.x

    def untrained_tail(self, index: int = 0) -> nn.Module:
        """U-shaped: a client's tail of the true architecture with fresh random weights: number ``index`` of many. It has
        no parameters where the tail is the loss alone."""
        self._declared("architecture")
        if self.target.untrained_tail is None:
            raise self._no_tail()
        return self.target.untrained_tail(index)

    def client_tail(self) -> nn.Module:
        """U-shaped: the clients' true tail, as it was before what was observed. The attack must leave it as it is."""
        self._declared("client_weights")
        if self.target.tail is None:
            raise self._no_tail()
        return self.target.tail

    def _no_tail(self) -> ScenarioError:
        name = type(self.attack).__name__
        return ScenarioError(
            f"{name} asks for a client's tail, which a U-shaped protocol alone has; use another attack"
        )

    def tail_gradients(self) -> Mapping[str, torch.Tensor]:
        """U-shaped: ∂L/∂γ of the client's tail γ, by parameter name, [split steps, …] each, in the order of
        ``Observed.batches``. No message brings them to anybody."""
        self._declared("tail_gradients")
        return self.target.tail_gradients

    def known_labels(self, count: int, classes: Iterable[int] | None = None) -> dict[int, torch.Tensor]:
        """Class → indices, int64 [≤ count], of random observed samples of it; classes of which none was observed are
        left out. ``classes``: of which; None: of all."""
        self._declared("known_labels")
        assert self.target.labels is not None
        found = {}
        for label in range(self.classes) if classes is None else classes:
            rows = torch.nonzero(self.target.labels == label)[:, 0]
            if len(rows):
                stream = rng.torch_stream(
                    self.target.seed, "inference known labels", label
                )  # the same for every attack
                drawn = torch.randperm(len(rows), generator=stream)
                found[label] = rows[drawn[:count]].sort().values
                self.told.update(found[label].tolist())
        return found

    def hijack(self, z: torch.Tensor) -> torch.Tensor:
        """Inputs [n, C, H, W] of smashed data, by the inverse that ``FeatureSpaceHijacking`` has learned in training."""
        self._declared("hijack")
        assert self.target.hijack is not None
        return self.target.hijack(z)

    def trained_generator(self) -> TrainedGenerator:
        """What a malicious client has trained by ``GanAttack``."""
        self._declared("generator")
        assert self.target.generator is not None
        return self.target.generator

    def named_update(self, update: torch.Tensor) -> dict[str, torch.Tensor]:
        """One row [d] of ``updates``, W_k − W, by parameter name in the network's order. It takes W, which the client
        was sent."""
        self._declared("client_weights")
        assert self.target.named_update is not None
        return self.target.named_update(update)

    def local_training(self) -> LocalTraining:
        """How the clients of the observed updates trained."""
        self._declared("training_settings")
        assert self.target.local_training is not None
        return self.target.local_training

    def candidates(self) -> Auxiliary:
        """The samples, with labels, of which is asked whether they were trained on: one for every observed row."""
        self._declared("candidates")
        assert self.target.candidates is not None
        return self.target.candidates

    def untrained_model(self, index: int = 0) -> nn.Module:
        """A whole network [n, C, H, W] → logits of the true architecture with fresh random weights: number ``index`` of
        many."""
        self._declared("architecture")
        self._declared("server_weights")
        assert self.target.untrained_model is not None
        return self.target.untrained_model(index)

    def query(self, x: torch.Tensor) -> torch.Tensor:
        """Smashed data of chosen inputs [n, C, H, W], as a client sends them: what its defences of smashed data make of
        them. Raises ``ScenarioError`` beyond the budget of queries."""
        self._declared("queries")
        self.queries += len(x)
        if self.queries > self.target.query_budget:
            name = type(self.attack).__name__
            raise ScenarioError(
                f"{name} asks the client portion about {self.queries} inputs, but the budget is "
                f"{self.target.query_budget}; raise --queries or let {name} ask less"
            )
        with torch.no_grad():
            return self.target.sent(x)

    def _declared(self, fact: Fact) -> None:
        name = type(self.attack).__name__
        if fact not in self.attack.needs:
            raise ScenarioError(f"{name} uses '{fact}', which it does not declare; add it to {name}.needs")


def check_adversary(
    attack: InferenceAttack, adversary: Adversary, protocol: TrainingProtocol, learned: frozenset[Fact] = frozenset()
) -> None:
    """Raise ``ScenarioError`` unless the adversary holds every channel that the attack reads and knows what it needs.
    ``learned``: what attacks in training have left with one party or another."""
    name, parties = type(attack).__name__, " and ".join(adversary.parties)
    held, known = adversary.channels(protocol), adversary.facts(protocol)
    known |= {fact for fact in learned if LEARNED_BY[fact] in adversary.parties}
    for channel in sorted(attack.reads - held):
        raise ScenarioError(
            f"{name} reads '{channel.value}', which {parties} of {type(protocol).__name__} "
            f"{'does' if len(adversary.parties) == 1 else 'do'} not hold; the adversary holds "
            f"{', '.join(sorted(c.value for c in held)) or 'no channel'}"
        )
    for fact in sorted(attack.needs - known):
        raise ScenarioError(
            f"{name} needs to know '{fact}', which the adversary does not; it knows "
            f"{', '.join(sorted(known)) or 'nothing'}: add it to what is assumed, or use another attack"
        )
    if attack.reads_labels and protocol.u_shaped:
        raise ScenarioError(
            f"{name} reads labels that travel with smashed data, but those of a U-shaped {type(protocol).__name__} "
            "never leave their clients; use another attack"
        )
