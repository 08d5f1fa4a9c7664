"""Whether the clients that will train and be tested have the samples for it: sizes are known before anything is
trained."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from raysplit.errors import PopulationError, ScenarioError
from raysplit.population.population import Population
from raysplit.population.selection.cohort import ParticipationSampler
from raysplit.protocols.batching import Batching
from raysplit.protocols.protocol import TrainingProtocol
from raysplit.scenario.layout import Layout
from raysplit.scenario.network_check import refuses_one_sample
from raysplit.scenario.scenario import Scenario
from raysplit.simulation.evaluation import evaluation_clients

_REMEDY = "use Training(last_batch='join') or last_batch='drop', or another batch size"


def check_data(scenario: Scenario, layout: Layout, population: Population) -> None:
    """Raise ``PopulationError`` where nobody who is evaluated has a test sample, and ``ScenarioError`` where a batch of
    one sample would meet a network that cannot train on it, or a client has too few samples for its detector."""
    _check_tests(scenario, population)
    _check_detectors(scenario, population)
    if _makes_single_samples(scenario):
        stage = refuses_one_sample(scenario, layout)
        if stage is not None:
            _check_batches(scenario, population, stage)


def _check_tests(scenario: Scenario, population: Population) -> None:
    info = population.info
    clients = evaluation_clients(scenario, info)
    if population.test_sizes(clients).any():
        return
    if len(clients) < info.clients and population.test_sizes(np.arange(info.clients, dtype=np.int64)).any():
        raise PopulationError(
            f"none of the {len(clients)} evaluated clients of population {info.name!r} has a test sample; give "
            "Evaluation(clients=None), or prepare it with a larger share of test samples"
        )
    raise PopulationError(
        f"population {info.name!r} has no test samples, so there is nothing to evaluate on; prepare it with a larger "
        "share of test samples"
    )


def _check_detectors(scenario: Scenario, population: Population) -> None:
    detectors = () if scenario.detection is None else scenario.detection.at_clients
    for detector in detectors:
        least = detector.least_samples(scenario.training)
        if least <= 1:
            continue
        for _, clients in _trained(scenario, population):
            sizes = population.train_sizes(clients)
            for client, samples in zip(clients.tolist(), sizes.tolist(), strict=True):
                if samples < least:
                    raise ScenarioError(
                        f"client {client} of population {population.info.name!r} has {samples} training samples, but "
                        f"{type(detector).__name__} needs {least} for a training of the client's own; give it a larger "
                        "share or more epochs, use a smaller batch size, or leave it out of Detection.at_clients"
                    )


def _makes_single_samples(scenario: Scenario) -> bool:
    """Whether a batch of one is possible at all, whatever the sizes of clients."""
    return not (scenario.training.batch_size is None and scenario.protocol.client_sync == "one_party")


def _check_batches(scenario: Scenario, population: Population, stage: str) -> None:
    """``stage`` cannot train on one sample: raise ``ScenarioError`` for the first client that would bring it one."""
    info, batching, protocol = population.info, scenario.training.batching, scenario.protocol
    why = f"stage {stage!r} of {type(scenario.model).__name__} cannot train on one (BatchNorm)"
    if batching.size == 1:
        raise ScenarioError(f"Training.batch_size is 1, but {why}; use at least 2")
    sizes = population.train_sizes(np.arange(info.clients, dtype=np.int64))
    single = {int(n) for n in np.unique(sizes) if n and 1 in batching.lengths(int(n))}
    united = protocol.client_sync == "one_party"
    server = Batching(protocol.server_batch, batching.last) if protocol.server_step == "server_first" else None
    if not single and not united and (server is None or server.size is None):
        return
    for round, clients in _trained(scenario, population):
        if united:
            together = int(sizes[clients].sum())
            if 1 in batching.lengths(together):
                raise ScenarioError(
                    f"the {together} training samples of round {round} leave one for the last batch of "
                    f"{batching.size}, but {why}; {_REMEDY}"
                )
            continue
        for client in clients.tolist():
            if int(sizes[client]) in single:
                raise ScenarioError(_of_client(client, int(sizes[client]), info.name, batching, why))
        if server is not None and server.size is not None:
            _check_server(sizes[clients], batching, server, round, why)


def _of_client(client: int, samples: int, population: str, batching: Batching, why: str) -> str:
    if samples == 1:
        return (
            f"client {client} of population {population!r} has one training sample, but {why}; leave such clients "
            "out, or use a network that can"
        )
    return (
        f"client {client} of population {population!r} has {samples} training samples, which leave one for the last "
        f"batch of {batching.size}, but {why}; {_REMEDY}"
    )


def _check_server(sizes: np.ndarray, batching: Batching, server: Batching, round: int, why: str) -> None:
    """The main server's own batches, of the smashed data of all clients at a step index."""
    lengths = [batching.lengths(int(n)) for n in sizes]
    for step in range(max(map(len, lengths), default=0)):
        together = sum(own[step] for own in lengths if step < len(own))
        if 1 in server.lengths(together):
            raise ScenarioError(
                f"the {together} smashed samples of step {step} in round {round} leave one for the server's last batch "
                f"of {server.size}, but {why}; {_REMEDY}"
            )


def _trained(scenario: Scenario, population: Population) -> Iterator[tuple[int, np.ndarray]]:
    """Who trains in which round, and root clients in round 1; a protocol that says itself who takes part may take
    anybody."""
    roots = [*scenario.defense.roots, *scenario.server_defense.roots]
    if roots:
        yield 1, np.array(roots, dtype=np.int64)
    everybody = np.arange(population.info.clients, dtype=np.int64)
    if type(scenario.protocol).participation is not TrainingProtocol.participation:
        yield 1, everybody
        return
    sampler = ParticipationSampler(scenario.cohort, scenario.seed, population)
    always = scenario.cohort.size >= len(everybody) and scenario.setting.uneven is None
    for round in range(1, 2 if always else scenario.training.rounds + 1):
        participation = sampler.of(round)
        yield round, np.concatenate([participation.reporting.clients, participation.lost.clients])
