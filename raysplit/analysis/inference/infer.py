"""One inference attack on a run, from the threat model to its scores.

1. The threat model is checked: the adversary must hold what the attack reads, and know what it needs.
2. Victims: test samples as the deployed model sends them, or what a round of training showed.
3. The attack infers, from its declared channels and facts alone.
4. It is scored against the truth, beside guesses that saw nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from raysplit.analysis.inference.attacked import attacked
from raysplit.analysis.inference.extracted import scores_of_surrogate
from raysplit.analysis.inference.generated import scores_of_samples
from raysplit.analysis.inference.known_samples import labels_from_known_samples
from raysplit.analysis.inference.matching import in_true_order
from raysplit.analysis.inference.scoring import Score, scores_of
from raysplit.analysis.inference.setup import DEFAULT, Setup
from raysplit.analysis.inference.target import learned_in
from raysplit.analysis.inference.victims import Victims
from raysplit.analysis.runs.trained import Trained, check_client
from raysplit.attacks.inference.adversary import LEARNED_BY, Adversary
from raysplit.attacks.inference.inference_attack import (
    InferenceAttack,
    Knowledge,
    Observed,
    Reconstruction,
    check_adversary,
    usual_parties,
)
from raysplit.attacks.inference.target import Target
from raysplit.channels.channel import Channel
from raysplit.errors import RunError, ScenarioError
from raysplit.protocols.protocol import TrainingProtocol
from raysplit.threads import one_thread

IN_TRAINING = (Channel.FEATURE_GRADIENTS, Channel.CUT_GRADIENTS, Channel.UPDATES)
"""Channels that carry something in training only."""


@dataclass(frozen=True)
class Inference:
    """What an attack found. ``told``: how many labels it was told, which are not scored; ``seconds``: of the attack
    alone. ``oracle``: the attack that was told everything, whose scores stand beside it (``oracle.py``)."""

    attack: InferenceAttack
    adversary: Adversary
    setup: Setup
    victims: Victims
    target: Target
    found: Reconstruction
    scores: list[Score]
    seconds: float
    told: int = 0
    oracle: InferenceAttack | None = None


def adversary_for(attack: InferenceAttack, trained_run: Trained, adversary: Adversary | None) -> Adversary:
    """The adversary that is given; or whoever learned in training what the attack needs, else the servers that hold what
    it reads, of which all is assumed that it needs besides."""
    protocol = trained_run.scenario.protocol
    if adversary is None:
        parties = usual_parties(attack, protocol)
        held = Adversary(parties).facts(protocol) | LEARNED_BY.keys()
        adversary = Adversary(parties, tuple(sorted(attack.needs - held)))
    check_adversary(attack, adversary, protocol, learned_in(trained_run.scenario))
    return adversary


@one_thread()
def infer_trained(
    trained_run: Trained, attack: InferenceAttack, adversary: Adversary | None = None, setup: Setup = DEFAULT
) -> Inference:
    """Carry out one attack. Raises ``UserError`` where the threat model does not allow it, the protocol shows nothing,
    or the run has not come so far."""
    scenario = trained_run.scenario
    check_attack(trained_run, attack, setup)
    adversary = adversary_for(attack, trained_run, adversary)
    victims, target = attacked(trained_run, attack, setup)
    _check_kept(attack, target)
    observed = Observed(attack, victims.messages, victims.batches, victims.batch_sizes, victims.labels)
    began = time.perf_counter()
    knowledge = Knowledge(attack, target)
    found = _checked(attack, attack.infer(observed, knowledge), victims)
    seconds = time.perf_counter() - began
    if Channel.UPDATES in attack.reads:
        found = in_true_order(found, victims.x, victims.batches)
    told = sorted(knowledge.told)
    guesses = {}
    if told and found.labels is not None:
        guesses["the known samples alone"] = labels_from_known_samples(scenario, victims, told)
    scores = scores_of(type(attack).__name__, found, victims, target, told, guesses)
    if found.samples is not None:
        scores += scores_of_samples(type(attack).__name__, found, target, scenario)
    if found.surrogate is not None:
        scores += scores_of_surrogate(attack, found, victims, target)
    return Inference(attack, adversary, setup, victims, target, found, scores, seconds, len(told))


def _check_kept(attack: InferenceAttack, target: Target) -> None:
    """Raise ``RunError`` where the state has nothing of what the attack goes on with."""
    for fact, what, kept in (
        ("hijack", "the hijacking had learned", target.learned.hijack),
        ("generator", "a malicious client had learned", target.learned.generator),
    ):
        if fact in attack.needs and kept is None:
            raise RunError(
                f"{type(attack).__name__} needs what {what}, but nothing of it is kept there; choose a --round after "
                "the attack's first, or run the scenario with --keep-state"
            )


def check_attack(trained_run: Trained, attack: InferenceAttack, setup: Setup) -> None:
    """Raise ``UserError`` where nothing of what such a scenario shows can be attacked like this; its state is not looked
    at."""
    protocol, model = trained_run.scenario.protocol, trained_run.scenario.model
    kind = type(protocol).__name__
    without_cut = Channel.UPDATES in attack.reads or attack.goal == "membership"
    if (protocol.server == "none" and not without_cut) or protocol.topology.kind != "pair":
        raise RunError(f"{kind} has no clients that send smashed data to one main server, so there is nothing to infer")
    if model.reads_bytes and attack.goal == "inputs":
        raise RunError(
            f"{type(model).__name__} reads packed graphs or texts, which no inference attack here reconstructs; attack labels"
        )
    if trained_run.personal and (setup.client is None or setup.round is not None):
        raise RunError(
            f"the clients of {kind} keep portions of their own; attack one client's trained model: --client 0, without "
            "--round"
        )
    for requirement in attack.requires:
        requirement.check(attack, trained_run.scenario.setting)
    _check_shown_in_training(attack, protocol, setup)
    if setup.round is not None and protocol.synchrony != "synchronous":
        raise RunError(
            f"clients of {kind} train on batches of earlier rounds, so what a round showed cannot be scored; leave "
            "--round out to attack the trained model"
        )
    if setup.client is not None:
        check_client(setup.client, trained_run.scenario)
    if setup.round is not None and setup.round < 1:
        raise ScenarioError(f"rounds count from 1, so there is no round {setup.round} to attack; use --round 1 or more")
    if setup.samples < 1 or setup.auxiliary < 1 or setup.queries < 0:
        raise ScenarioError(
            f"samples and auxiliary count from 1 and queries from 0, but they are {setup.samples}, {setup.auxiliary} "
            f"and {setup.queries}"
        )


def _check_shown_in_training(attack: InferenceAttack, protocol: TrainingProtocol, setup: Setup) -> None:
    """Raise ``RunError`` where the attack goes by gradients or labels that there are not."""
    name = type(attack).__name__
    if attack.goal == "membership":
        if setup.round is not None:
            raise RunError(f"{name} asks about the trained model; leave --round out")
        return
    if attack.goal == "server_portion":  # the client asks, as it does in training
        return
    gradients = [c.value for c in sorted(attack.reads) if c in IN_TRAINING]
    if "tail_gradients" in attack.needs:
        gradients.append("tail_gradients")
        if not protocol.u_shaped:
            raise RunError(
                f"{name} needs 'tail_gradients', but {type(protocol).__name__} is not U-shaped, so that clients have no "
                "tail; use another attack"
            )
    if setup.round is None and gradients:
        raise RunError(
            f"{name} goes by '{gradients[0]}', which there are in training only; name a round, as in --round 1"
        )
    if setup.round is None and attack.reads_labels:
        raise RunError(
            f"{name} reads labels, which come with smashed data in training only; name a round, as in --round 1"
        )


def _checked(attack: InferenceAttack, found: Reconstruction, victims: Victims) -> Reconstruction:
    """Raise ``ScenarioError`` where an attack gives back what is none: a user's own may."""
    name = type(attack).__name__
    if not isinstance(found, Reconstruction):
        raise ScenarioError(f"{name}.infer must return a Reconstruction, but it returns {type(found).__name__}")
    if attack.goal == "inputs" and (found.inputs is None or found.inputs.shape != victims.x.shape):
        shape = None if found.inputs is None else list(found.inputs.shape)
        raise ScenarioError(f"{name}.infer must return inputs of shape {list(victims.x.shape)}, but it returns {shape}")
    answers = [one for one in (found.labels, found.positive_scores) if one is not None]
    if attack.goal == "labels" and (not answers or any(one.shape != victims.y.shape for one in answers)):
        shape = None if not answers else list(answers[0].shape)
        raise ScenarioError(
            f"{name}.infer must return labels or positive_scores of shape {list(victims.y.shape)}, but it returns {shape}"
        )
    if attack.goal == "samples" and (found.samples is None or found.samples.shape[1:] != victims.x.shape[1:]):
        shape = None if found.samples is None else list(found.samples.shape)
        raise ScenarioError(
            f"{name}.infer must return samples of shape {['m', *victims.x.shape[1:]]}, but it returns {shape}"
        )
    if attack.goal == "server_portion" and found.surrogate is None:
        raise ScenarioError(
            f"{name}.infer must return a surrogate, a module from smashed data to logits, but it is None"
        )
    membership = found.membership_scores
    if attack.goal == "membership" and (membership is None or membership.shape != victims.y.shape):
        shape = None if membership is None else list(membership.shape)
        raise ScenarioError(
            f"{name}.infer must return membership_scores of shape {list(victims.y.shape)}, but it returns {shape}"
        )
    if found.inputs is not None and not torch.isfinite(found.inputs).all():
        raise ScenarioError(f"{name} diverged: its inputs are not finite; lower its learning rate")
    for kind, scores in (("positive_scores", found.positive_scores), ("membership_scores", membership)):
        if scores is not None and not torch.isfinite(scores).all():
            raise ScenarioError(f"{name}.infer must return finite {kind}, but some are not")
    return found
