"""Whom an attack meets: the victims, what is known of their target, and the round in which they are met.

- the trained model in use: test samples, one at a time;
- a round of training: what crossed between clients and the main server, or the updates that the fed server received;
- the trained model and candidates for membership;
- the server portion, which one client asks with its own samples, or met in a round of training.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace

from raysplit.analysis.inference.candidates import Candidate, asked, candidates_of
from raysplit.analysis.inference.extracted import asked_server, of_one_client, own_samples, sent_alone
from raysplit.analysis.inference.replay import observe_round, observe_updates
from raysplit.analysis.inference.setup import Setup
from raysplit.analysis.inference.tail_gradients import TailGradients
from raysplit.analysis.inference.target import target_of, untrained_model, updates_of
from raysplit.analysis.inference.updated import local_training_of, updated
from raysplit.analysis.inference.victims import Victims, auxiliary_of, deployed, first_of_each_class, trained
from raysplit.analysis.runs.trained import Trained
from raysplit.attacks.inference.inference_attack import InferenceAttack
from raysplit.attacks.inference.observe import Observe
from raysplit.attacks.inference.target import AskedMembership, Auxiliary, Target
from raysplit.channels.channel import Channel
from raysplit.errors import RunError
from raysplit.scenario.privacy_rules import client_rule_of
from raysplit.storage.run_folder import RunFolder


def attacked(run: Trained, attack: InferenceAttack, setup: Setup) -> tuple[Victims, Target]:
    """Raises ``RunError`` where there is nobody to attack or the run has not come so far."""
    if attack.goal == "membership":
        victims, target = _candidates(run, attack, setup)
    elif attack.goal == "server_portion" and setup.round is None:
        victims, target = _asking(run, attack, setup)
    elif setup.round is None:
        victims, target = _in_use(run, attack, setup)
    elif Channel.UPDATES in attack.reads:
        victims, target = _updates(run, attack, setup, setup.round)
    else:
        victims, target = _in_training(run, attack, setup, setup.round)
    return victims, replace(target, labels=victims.y)


def _in_use(run: Trained, attack: InferenceAttack, setup: Setup) -> tuple[Victims, Target]:
    chosen = first_of_each_class(run.scenario, setup.samples, setup.client)
    auxiliary = _auxiliary(run, attack, setup, chosen)
    target = target_of(run.scenario, run.state, auxiliary, setup.queries, setup.client)
    return deployed(run.scenario, target, chosen), target


def _candidates(run: Trained, attack: InferenceAttack, setup: Setup) -> tuple[Victims, Target]:
    members, others = candidates_of(run, setup)
    auxiliary = _auxiliary(run, attack, setup, others)
    target = target_of(run.scenario, run.state, auxiliary, setup.queries, setup.client)
    victims = asked(run.scenario, target, members, others, attack.reads)
    untrained = functools.partial(untrained_model, run.scenario)
    return victims, replace(target, membership=AskedMembership(Auxiliary(victims.x, victims.y), untrained))


def _asking(run: Trained, attack: InferenceAttack, setup: Setup) -> tuple[Victims, Target]:
    chosen = own_samples(run, setup)
    target = target_of(run.scenario, run.state, _auxiliary(run, attack, setup), setup.queries, setup.client)
    target = replace(target, server=asked_server(run.scenario, run.state))
    return sent_alone(run.scenario, target, chosen), target


def _in_training(run: Trained, attack: InferenceAttack, setup: Setup, round: int) -> tuple[Victims, Target]:
    scenario = run.scenario
    auxiliary = _auxiliary(run, attack, setup)
    observe = _observe(attack, setup, round)
    tails = TailGradients(setup.samples, client_rule_of(scenario)) if "tail_gradients" in attack.needs else None
    seen = observe_round(RunFolder(run.path), scenario, observe, tails)
    target = target_of(scenario, seen.before, auxiliary, setup.queries, setup.client, in_training=True)
    victims = trained(scenario, seen.observations, observe, setup.samples, seen.malicious)
    if attack.goal == "server_portion":
        victims, target = of_one_client(victims), replace(target, server=asked_server(scenario, seen.before))
    if tails is not None:
        assert target.u_shape is not None
        gradients = tails.of(victims.steps[: int(victims.batches[-1]) + 1])
        target = replace(target, u_shape=replace(target.u_shape, gradients=gradients))
    return victims, target


def _updates(run: Trained, attack: InferenceAttack, setup: Setup, round: int) -> tuple[Victims, Target]:
    auxiliary = _auxiliary(run, attack, setup)
    seen = observe_updates(RunFolder(run.path), run.scenario, round)
    target = target_of(run.scenario, seen.before, auxiliary, setup.queries, setup.client, in_training=True)
    victims = updated(run.scenario, seen, setup)
    training = local_training_of(run.scenario, round, victims)
    return victims, replace(target, updates=updates_of(run.scenario, seen.before, training))


def _auxiliary(
    run: Trained, attack: InferenceAttack, setup: Setup, without: Sequence[Candidate] = ()
) -> Auxiliary | None:
    found = auxiliary_of(run.scenario, setup.auxiliary, without)
    if found is None and attack.needs & {"auxiliary_data", "auxiliary_inputs"}:
        raise RunError(
            f"{type(attack).__name__} needs auxiliary data, but the evaluated clients have no other test samples; raise "
            "Evaluation.clients or attack fewer samples"
        )
    return found


def _observe(attack: InferenceAttack, setup: Setup, round: int) -> Observe:
    """The first samples of every client in the round; smashed data are kept in any case, by which steps are found."""
    channels = [Channel.SMASHED, *sorted(attack.reads - {Channel.SMASHED})]
    clients = None if setup.client is None else (setup.client,)
    return Observe((round,), tuple(c.value for c in channels), clients, setup.samples)
