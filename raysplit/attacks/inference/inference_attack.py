"""The contract of inference attacks, and the only ways in which they learn anything.

An attack is a pure function of what was observed and what is known: ``infer(observed, knowledge)``. Both hand out what
the attack has declared and the adversary has, and nothing else, so a threat model is enforced, not promised.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import nn

from raysplit import rng
from raysplit.attacks.inference.adversary import LEARNED_BY, Adversary, Fact, PartyName
from raysplit.attacks.inference.local_training import LocalTraining
from raysplit.attacks.inference.target import Auxiliary, Target, TrainedGenerator, UShape
from raysplit.channels.channel import Channel
from raysplit.errors import ScenarioError
from raysplit.parts.contract import answer, contract
from raysplit.protocols.protocol import TrainingProtocol
from raysplit.protocols.requirements import Requirement

Goal = Literal["inputs", "labels", "samples", "membership", "server_portion"]


@dataclass(frozen=True)
class Reconstruction:
    """What an attack made of n observed samples. ``inputs``: [n, C, H, W] as the network sees them; ``labels``: int64
    [n]; None: not attempted. ``clones``: of the client portion, one or more. ``labels_up_to_permutation``: whether
    labels are names of clusters only. ``positive_scores``: float [n], the higher, the likelier a sample is of
    ``positive_class``; no threshold is meant. ``queries``: how many inputs the client portion, or smashed data the
    server, was asked about.
    ``samples``: [m, C, H, W], made after the data of class ``samples_of``, of no observed sample in particular.
    ``membership_scores``: float [n], the higher, the likelier a candidate was trained on. From an update, samples of one
    client are in any order: they are matched to the true ones when they are scored. ``chosen``: what won where several
    were tried, in words, and by what. ``surrogate``: of the server portion, from smashed data to logits."""

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
    surrogate: nn.Module | None = None


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
        if self.target.u_shape is not None:
            self._declared("client_weights")
        return self.target.finish(z)

    @property
    def u_shaped(self) -> bool:
        """Whether the last layers are the clients'."""
        return self.target.u_shape is not None

    def features(self, z: torch.Tensor) -> torch.Tensor:
        """U-shaped: features of smashed data, by the server's own portion. Gradients flow through it to ``z``."""
        self._declared("server_weights")
        return self._u_shape().features(z)

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
        return self._u_shape().untrained(index)

    def client_tail(self) -> nn.Module:
        """U-shaped: the clients' true tail, as it was before what was observed. The attack must leave it as it is."""
        self._declared("client_weights")
        return self._u_shape().tail

    def _u_shape(self) -> UShape:
        if self.target.u_shape is None:
            name = type(self.attack).__name__
            raise ScenarioError(
                f"{name} asks for a client's tail, which a U-shaped protocol alone has; use another attack"
            )
        return self.target.u_shape

    def tail_gradients(self) -> Mapping[str, torch.Tensor]:
        """U-shaped: ∂L/∂γ of the client's tail γ, by parameter name, [split steps, …] each, in the order of
        ``Observed.batches``. No message brings them to anybody."""
        self._declared("tail_gradients")
        return self._u_shape().gradients

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
        assert self.target.learned.hijack is not None
        return self.target.learned.hijack(z)

    def trained_generator(self) -> TrainedGenerator:
        """What a malicious client has trained by ``GanAttack``."""
        self._declared("generator")
        assert self.target.learned.generator is not None
        return self.target.learned.generator

    def named_update(self, update: torch.Tensor) -> dict[str, torch.Tensor]:
        """One row [d] of ``updates``, W_k − W, by parameter name in the network's order. It takes W, which the client
        was sent."""
        self._declared("client_weights")
        assert self.target.updates is not None
        return self.target.updates.named(update)

    def local_training(self) -> LocalTraining:
        """How the clients of the observed updates trained."""
        self._declared("training_settings")
        assert self.target.updates is not None
        return self.target.updates.training

    def candidates(self) -> Auxiliary:
        """The samples, with labels, of which is asked whether they were trained on: one for every observed row."""
        self._declared("candidates")
        assert self.target.membership is not None
        return self.target.membership.candidates

    def untrained_model(self, index: int = 0) -> nn.Module:
        """A whole network [n, C, H, W] → logits of the true architecture with fresh random weights: number ``index`` of
        many."""
        self._declared("architecture")
        self._declared("server_weights")
        assert self.target.membership is not None
        return self.target.membership.untrained(index)

    def untrained_server_portion(self, index: int = 0) -> nn.Module:
        """A server portion of the true architecture with fresh random weights: number ``index`` of many."""
        self._declared("server_architecture")
        assert self.target.server is not None
        return self.target.server.untrained(index)

    def ask_server(self, z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Cut gradients ∂CE/∂z [n, …] that the main server answers to chosen smashed data [n, …] with chosen labels,
        int64 [n], each sent in a batch of its own. Raises ``ScenarioError`` beyond the budget of queries."""
        self._declared("server_queries")
        assert self.target.server is not None
        self._count(len(y), "the server", "split steps")
        return self.target.server.cut_gradients(z, y)

    def query(self, x: torch.Tensor) -> torch.Tensor:
        """Smashed data of chosen inputs [n, C, H, W], as a client sends them: what its defences of smashed data make of
        them. Raises ``ScenarioError`` beyond the budget of queries."""
        self._declared("queries")
        self._count(len(x), "the client portion", "inputs")
        with torch.no_grad():
            return self.target.sent(x)

    def _count(self, asked: int, whom: str, what: str) -> None:
        """Raise ``ScenarioError`` where so many more queries are beyond the budget."""
        self.queries += asked
        if self.queries > self.target.query_budget:
            name = type(self.attack).__name__
            raise ScenarioError(
                f"{name} asks {whom} about {self.queries} {what}, but the budget is "
                f"{self.target.query_budget}; raise --queries or let {name} ask less"
            )

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
    if attack.goal == "server_portion":
        held |= _of_the_client(adversary, protocol, name)
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


def _of_the_client(adversary: Adversary, protocol: TrainingProtocol, name: str) -> frozenset[Channel]:
    """A client's own messages, by which it attacks the server. Raises ``ScenarioError`` where the server is among the
    attackers."""
    if "main_server" in adversary.parties:
        raise ScenarioError(f"{name} is after the server portion, which main_server has; leave it out: --party client")
    held = {"clients"} if "client" in adversary.parties else set()
    return frozenset(c for c in protocol.channels if c.sender in held or c.receiver in held)


def usual_parties(attack: InferenceAttack, protocol: TrainingProtocol) -> tuple[PartyName, ...]:
    """A client for what is the server's; whoever learned in training what an attack needs; else the servers that hold
    what it reads; for one that reads nothing, the main server, or the fed server where there is no other."""
    learners = tuple(dict.fromkeys(LEARNED_BY[fact] for fact in sorted(attack.needs) if fact in LEARNED_BY))
    if attack.goal == "server_portion" or learners:
        return learners or ("client",)
    fed = any("fed_server" in (channel.sender, channel.receiver) for channel in attack.reads)
    main = any("main_server" in (channel.sender, channel.receiver) for channel in attack.reads)
    if not fed and not main:
        fed = protocol.server == "none" and protocol.client_sync == "averaging"
        main = not fed
    named: dict[PartyName, bool] = {"main_server": main, "fed_server": fed}
    return tuple(party for party, holds in named.items() if holds)
