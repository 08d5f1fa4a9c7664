"""FORA (Xu et al. 2024): an inverse learned from unlabelled public data alone, by a substitute of the client portion."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from raysplit.attacks.inference.adversary import Fact
from raysplit.attacks.inference.discriminators import of_smashed
from raysplit.attacks.inference.inference_attack import Goal, InferenceAttack, Knowledge, Observed, Reconstruction
from raysplit.attacks.inference.substitutes import substitute_portion
from raysplit.channels.channel import Channel
from raysplit.errors import ScenarioError
from raysplit.models.decoders import Decoder, decoder
from raysplit.parts.part import part, within


@part
class Fora(InferenceAttack):
    """A substitute s of the client portion, of another architecture, and a decoder d, on auxiliary x without labels; z
    is what was observed, C a critic. At every step, one step of Adam each::

        s:    (1 − a) · mean C(s(x)) + a · MMD²(z, s(x))
        C:    mean C(z) − mean C(s(x)) + penalty · mean (‖∇C(u·z + (1 − u)·s(x))‖ − 1)²,     u uniform, a sample each
        d:    MSE(d(s(x)), x)

    Then x̂ = d(z). a: ``mmd_share``; MMD² over five Gaussian kernels exp(−‖·‖²/(2^k·b)), k from −3 to 1, b the mean
    squared distance of a batch. Neither labels nor architecture nor the server's portion are used, so nothing ties a
    position of z to what it means but its distribution over samples.

    All of z is attacked, and s and C learn from nothing else: observe some hundreds of samples. Published: along 40,000
    steps of training with a share of 0.8, s and d at 1e-4. Source: Xu, Yang, Xiong, Cheng, Guo, CVPR 2024, and its code.
    """

    steps: int = 2000
    batch_size: int = 64
    mmd_share: float = 0.8
    penalty: float = 1000.0
    substitute_lr: float = 1e-3
    critic_lr: float = 3e-4
    decoder_lr: float = 1e-3
    decoder: Decoder = "small"
    width: int = 32
    goal: Goal = "inputs"

    def __post_init__(self) -> None:
        rates = (self.substitute_lr, self.critic_lr, self.decoder_lr)
        if self.batch_size < 2 or min(self.steps, self.width) < 1 or min(rates) <= 0 or self.penalty < 0:
            raise ScenarioError(
                "Fora takes steps and width from 1, batch_size from 2, rates above 0 and a penalty from 0, but it is "
                f"{self}"
            )
        within("Fora.mmd_share", self.mmd_share, 0, 1)

    @property
    def reads(self) -> frozenset[Channel]:
        return frozenset({Channel.SMASHED})

    @property
    def needs(self) -> frozenset[Fact]:
        return frozenset({"auxiliary_inputs"})

    def infer(self, observed: Observed, knowledge: Knowledge) -> Reconstruction:
        z, x = observed.on(Channel.SMASHED), knowledge.auxiliary_inputs()
        draw = knowledge.generator("substitute")
        with torch.random.fork_rng(devices=[]):  # first weights and dropout take the global stream
            torch.manual_seed(int(torch.randint(1 << 62, (), generator=draw)))
            networks = _networks(self, knowledge, z)
            for _ in range(self.steps):
                known = x[torch.randint(len(x), (self.batch_size,), generator=draw)]
                seen = z[torch.randint(len(z), (self.batch_size,), generator=draw)]
                _step(self, networks, known, seen, torch.rand(self.batch_size, generator=draw, dtype=z.dtype))
        networks.decoder.eval()
        with torch.no_grad():
            return Reconstruction(inputs=networks.decoder(z).clamp(*knowledge.range))


@dataclass
class _Networks:
    """Each with its optimiser."""

    substitute: nn.Module
    critic: nn.Module
    decoder: nn.Module
    of_substitute: torch.optim.Optimizer
    of_critic: torch.optim.Optimizer
    of_decoder: torch.optim.Optimizer


def _networks(attack: Fora, knowledge: Knowledge, z: torch.Tensor) -> _Networks:
    shape = tuple(z.shape[1:])
    substitute = substitute_portion(knowledge.input_shape, shape, attack.width, bool((z >= 0).all())).to(z.dtype)
    critic = of_smashed(shape, attack.width).to(z.dtype)
    inverse = decoder(attack.decoder, shape, knowledge.input_shape).to(z.dtype)
    return _Networks(
        substitute,
        critic,
        inverse,
        torch.optim.Adam(substitute.parameters(), lr=attack.substitute_lr),
        torch.optim.Adam(critic.parameters(), lr=attack.critic_lr),
        torch.optim.Adam(inverse.parameters(), lr=attack.decoder_lr),
    )


def _step(attack: Fora, networks: _Networks, x: torch.Tensor, z: torch.Tensor, mix: torch.Tensor) -> None:
    critic, share = networks.critic, attack.mmd_share
    made = networks.substitute(x)
    _descend(networks.of_substitute, (1 - share) * critic(made).mean() + share * mmd(z, made))
    made = made.detach()
    loss = critic(z).mean() - critic(made).mean() + attack.penalty * _gradient_penalty(critic, z, made, mix)
    _descend(networks.of_critic, loss)
    _descend(networks.of_decoder, functional.mse_loss(networks.decoder(made), x))


def _descend(optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def _gradient_penalty(critic: nn.Module, real: torch.Tensor, made: torch.Tensor, mix: torch.Tensor) -> torch.Tensor:
    u = mix.view(-1, *(1 for _ in real.shape[1:]))
    between = (u * real + (1 - u) * made).requires_grad_()
    (slope,) = torch.autograd.grad(critic(between).sum(), [between], create_graph=True)
    return (slope.flatten(1).norm(dim=1) - 1).square().mean()


def mmd(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Squared maximum mean discrepancy of two samples [B, …] of the same size, with the biased estimate: mean k(a, a′) +
    mean k(b, b′) − 2 mean k(a, b); kernels in ``Fora``. Gradients do not flow through the bandwidth."""
    n = len(one)
    pooled = torch.cat([one, other]).flatten(1)
    squares = pooled.square().sum(1)
    distances = (squares[:, None] + squares - 2 * pooled @ pooled.T).clamp_min(0)
    bandwidth = distances.detach().sum() / (2 * n * (2 * n - 1))
    kernel = torch.stack([torch.exp(-distances / (2.0**k * bandwidth)) for k in range(-3, 2)]).sum(0)
    return kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2 * kernel[:n, n:].mean()
