"""The client-side attack on split learning (Pasquini et al. 2021, Algorithm 1): the shared network as a discriminator."""

from __future__ import annotations

from typing import Literal

import torch

from raysplit import rng
from raysplit.attacks.data.data_attack import check_class
from raysplit.attacks.learned_state import learned_state, restore
from raysplit.attacks.messages.message_attack import checked, client_threat
from raysplit.attacks.steps.generator import Generator, fresh_generator
from raysplit.attacks.steps.step_attack import MaliciousSteps, StepAttack, StepStart
from raysplit.channels.channel import Channel, ThreatModel
from raysplit.channels.message import Score, StepAddress
from raysplit.errors import ScenarioError
from raysplit.memory.memory import State
from raysplit.models.fixed import learns
from raysplit.models.network import ModelSpec, check_cut
from raysplit.models.outline import outline
from raysplit.parts.part import part, within
from raysplit.protocols.requirements import Requirement, images
from raysplit.training.client_step import ClientStep, UShapedStep, VanillaStep
from raysplit.training.gradient_rules import GradientRule
from raysplit.training.parties import ClientSlot


@part
class GanAttack(StepAttack):
    """A malicious client that trains a generator G of class ``target`` with everybody's network as the discriminator.

    Its batches are samples of its own generator, x = G(noise), as many as an honest batch has. Its iterations
    i = 1, 2, … are its split steps, or with ``turns="rounds"`` the rounds, and take turns::

        poisoning:   an honest step on (x, ``dummy``): head f, server s and tail f' learn, G does not
        adversarial: L = cross-entropy of (x, ``target``); the server gets ε·∂L/∂f'(…) and returns ε·∂L/∂z at best;
                     divided by ε it goes back through f into G, which steps by Adam. f and f' stay as they are

    ε = ``epsilon``: the server portion steps on ε times the gradient, so that under SGD it hardly moves; Adam at the
    server divides it out again. The scaling acts on ``feature_gradients``, so it needs a U-shape; where labels
    travel, the server computes the loss itself, and the attack is possible with ``epsilon=1.0`` only: the server then
    learns from the labels that are sent.

    ``poison``: which iterations are poisoning ones, counted from 1: the paper's even ones; published code counts from 0
    and poisons at odd ones, so both begin with G. ``"never"``: G alone is trained. ``dummy``: None: the model's last
    class, which the paper adds to those of the data for this. ``latent``, ``width``, ``lr``: of G and its Adam, as in
    the public code (``width=64``: 256, 128 and 64 maps). Source: Pasquini, Ateniese, Bernaschi, CCS 2021, section 5.1,
    after Hitaj et al. 2017.
    """

    target: int = 0
    dummy: int | None = None
    epsilon: float = 1e-5
    poison: Literal["even", "odd", "never"] = "even"
    turns: Literal["steps", "rounds"] = "steps"
    latent: int = 100
    width: int = 64
    lr: float = 1e-4
    start_round: int = 1

    def __post_init__(self) -> None:
        checked(self, self.start_round, epsilon=self.epsilon, lr=self.lr)
        check_class("GanAttack.target", self.target)
        check_class("GanAttack.dummy", self.dummy)
        within("GanAttack.epsilon", self.epsilon, 0, 1)
        within("GanAttack.latent", self.latent, 1)
        within("GanAttack.width", self.width, 1)
        if self.target == self.dummy:
            raise ScenarioError(
                f"GanAttack.dummy names the class that generated samples are called while GanAttack.target is imitated, "
                f"but both are {self.target}; choose another dummy"
            )

    @property
    def threat_model(self) -> ThreatModel:
        if self.epsilon == 1:
            return client_threat(Channel.SMASHED, sees=(Channel.CUT_GRADIENTS,))
        return client_threat(Channel.SMASHED, Channel.FEATURE_GRADIENTS, sees=(Channel.FEATURES, Channel.CUT_GRADIENTS))

    @property
    def requires(self) -> tuple[Requirement, ...]:
        return (*super().requires, images("{component} generates images, but {model} reads packed graphs or texts"))

    def fits(self, model: ModelSpec) -> None:
        check_class("GanAttack.target", self.target, model)
        check_class("GanAttack.dummy", self.dummy, model)
        if self.dummy_of(model.classes) == self.target:
            raise ScenarioError(
                f"GanAttack.target is {self.target}, the last class of {type(model).__name__}, which is the dummy unless "
                "GanAttack.dummy names another"
            )
        first, _ = check_cut(model, split=True, u_shaped=False)
        if not learns([stage for _, stage in outline(model)[:first]]):
            raise ScenarioError(
                "GanAttack trains its generator with the cut gradients that its client gets, but the head of "
                f"{type(model).__name__} is frozen, and nothing is sent back to it; cut later"
            )

    def dummy_of(self, classes: int) -> int:
        """The class as which generated samples are sent in poisoning iterations."""
        return classes - 1 if self.dummy is None else self.dummy

    def steps(self, start: StepStart) -> MaliciousSteps:
        return _Gan(self, start)


def generator_of(attack: GanAttack, start: StepStart, like: torch.Tensor) -> tuple[Generator, torch.optim.Adam]:
    """A malicious client's generator and its optimiser as they were kept, fresh where nothing was; on the device and in
    the numbers of ``like``."""
    network = fresh_generator(
        start.seed, start.client, attack.latent, attack.width, start.input_shape, start.low, start.high
    ).to(like)
    optimizer = torch.optim.Adam(network.parameters(), lr=attack.lr)
    if start.learned:
        restore(network, {"generator": optimizer}, start.learned)
    return network, optimizer


class _Gan:
    """One malicious client's round of it."""

    def __init__(self, attack: GanAttack, start: StepStart) -> None:
        self._attack, self._start = attack, start
        self._iteration = int(start.learned.get("iteration", torch.tensor(0)))
        self._generator: Generator | None = None

    def step(
        self, slot: ClientSlot, x: torch.Tensor, y: torch.Tensor, address: StepAddress, rule: GradientRule | None
    ) -> ClientStep:
        self._iteration += 1
        generator, noise = self._open(slot.flat.vector), self._noise(len(y), slot.flat.vector)
        if self._poisons(address.round):
            with torch.no_grad():
                made = generator(noise)[: len(y)]
            labels = torch.full_like(y, self._attack.dummy_of(self._start.classes))
            honest = UShapedStep() if self._start.u_shaped else VanillaStep()
            return (yield from honest(slot, made, labels, address, rule))
        return (yield from self._adversarial(slot, generator(noise)[: len(y)], y, address))

    def _adversarial(self, slot: ClientSlot, made: torch.Tensor, y: torch.Tensor, address: StepAddress) -> ClientStep:
        """One step of the generator; ``made``: its samples [B, C, H, W], with their graph."""
        target, epsilon = torch.full_like(y, self._attack.target), self._attack.epsilon
        before = slot.flat.vector.clone()  # a forward pass moves BatchNorm's statistics
        z = slot.forward(made)
        score: Score | None
        if self._start.u_shaped:
            features = yield address.message(Channel.SMASHED, z.detach())
            gradient, score = slot.tail_pass(features.tensor, target)
            answer = yield address.message(Channel.FEATURE_GRADIENTS, epsilon * gradient)
        else:
            answer = yield address.message(Channel.SMASHED, z.detach(), target)
            score = answer.score
        self._optimizer.zero_grad()
        assert self._generator is not None
        parameters = list(self._generator.parameters())
        for parameter, gradient in zip(
            parameters, torch.autograd.grad(z, parameters, answer.tensor / epsilon), strict=True
        ):
            parameter.grad = gradient
        self._optimizer.step()
        slot.flat.vector.copy_(before)
        return score

    def _poisons(self, round: int) -> bool:
        if self._attack.poison == "never":
            return False
        count = round if self._attack.turns == "rounds" else self._iteration
        return count % 2 == (0 if self._attack.poison == "even" else 1)

    def _noise(self, batch: int, like: torch.Tensor) -> torch.Tensor:
        """[max(B, 2), latent]: BatchNorm trains on two samples at least."""
        draw = rng.torch_stream(self._start.seed, "gan noise", self._start.client, self._iteration)
        return torch.randn((max(batch, 2), self._attack.latent), generator=draw, dtype=torch.float64).to(like)

    def _open(self, like: torch.Tensor) -> Generator:
        if self._generator is None:
            self._generator, self._optimizer = generator_of(self._attack, self._start, like)
        return self._generator

    def learned(self) -> State:
        if self._generator is None:
            return self._start.learned
        kept = learned_state(self._generator, {"generator": self._optimizer})
        return {"iteration": torch.tensor(self._iteration), **kept}
