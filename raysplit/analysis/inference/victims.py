"""Whose samples are attacked: what crossed the channels for them, and, for the scores alone, what they really were."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from raysplit.attacks.inference.observe import Observe
from raysplit.attacks.inference.target import Auxiliary, Target
from raysplit.channels.channel import Channel
from raysplit.channels.hooks import Observation
from raysplit.errors import RunError
from raysplit.models.pixels import to_pixels
from raysplit.population.opening import open_population
from raysplit.population.population import Population, Samples
from raysplit.scenario.scenario import Scenario
from raysplit.simulation.evaluation import evaluation_clients


@dataclass(frozen=True)
class Victims:
    """n samples. ``messages``: by channel, [n, …] each. ``batches``, ``batch_sizes``: int64 [n], as in ``Observed``.
    ``labels``: those that travelled, None where none did. ``x``: [n, C, H, W] as the network sees them, ``y``: int64
    [n], ``clients``: int64 [n]: the truth. ``steps``: the cohort position and the step of each split step, in the order
    of ``batches``; none for the model in use. Of updates, ``messages`` has a row a client, ``batches`` which one.
    ``members``: bool [n], of candidates for membership, which of them were trained on."""

    messages: dict[Channel, torch.Tensor]
    batches: torch.Tensor
    batch_sizes: torch.Tensor
    labels: torch.Tensor | None
    x: torch.Tensor
    y: torch.Tensor
    clients: torch.Tensor
    steps: tuple[tuple[int, int], ...] = ()
    members: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.y)


def pixels(scenario: Scenario, x: torch.Tensor) -> torch.Tensor:
    """What the network sees of stored samples, on the CPU."""
    return to_pixels(x, scenario.pixels, scenario.training.dtype, torch.device("cpu"))


def tested(scenario: Scenario, client: int | None = None) -> Iterator[tuple[int, int, Samples]]:
    """The test samples of the clients that are evaluated, or of one client: (client, index in its test set, the sample
    as a set of one)."""
    population = open_population(scenario.population)
    ids = evaluation_clients(scenario, population.info) if client is None else np.array([client])
    for one in ids.tolist():
        x, y = population.test(one)
        for index in range(len(y)):
            yield one, index, Samples(x[index : index + 1], y[index : index + 1])


def first_of_each_class(scenario: Scenario, count: int, client: int | None = None) -> list[tuple[int, int, Samples]]:
    """``count`` test samples: the first of each class in client order, then the second, and so on."""
    seen: dict[int, int] = {}
    ranked = []
    for order, (one, index, sample) in enumerate(tested(scenario, client)):
        label = int(sample.y)
        seen[label] = seen.get(label, 0) + 1
        ranked.append((seen[label], label, order, (one, index, sample)))
        if len(seen) == scenario.model.classes and min(seen.values()) * scenario.model.classes >= count:
            break
    if not ranked:
        raise RunError("no client that is evaluated has a test sample, so there is none to attack; use --round")
    return [victim for _, _, _, victim in sorted(ranked, key=lambda one: one[:3])[:count]]


def deployed(scenario: Scenario, target: Target, chosen: Sequence[tuple[int, int, Samples]]) -> Victims:
    """What crosses for test samples when the trained model is in use, one sample at a time: smashed data without labels,
    and features where it is U-shaped."""
    x = pixels(scenario, torch.cat([sample.x for _, _, sample in chosen]))
    with torch.no_grad():
        z = torch.cat([target.sent(one) for one in torch.split(x, 1)])
        messages = {Channel.SMASHED: z}
        if target.u_shape is not None:
            messages[Channel.FEATURES] = torch.cat([target.u_shape.features(one) for one in torch.split(z, 1)])
    n = len(x)
    return Victims(
        messages,
        torch.arange(n),
        torch.ones(n, dtype=torch.int64),
        None,
        x,
        torch.cat([sample.y for _, _, sample in chosen]),
        torch.tensor([client for client, _, _ in chosen]),
    )


def trained(
    scenario: Scenario, observations: Sequence[Observation], observe: Observe, count: int, malicious: frozenset[int]
) -> Victims:
    """What crossed in a round of training for the first ``count`` samples of honest clients, step by step. Raises
    ``RunError`` where nothing was observed of any."""
    steps = [
        step
        for step in _steps(observations, observe)
        if step[0].client not in malicious and (observe.clients is None or step[0].client in observe.clients)
    ]
    if not steps:
        raise RunError(
            f"no honest client was observed in round {observe.rounds[0]}; choose another round or other clients"
        )
    population = open_population(scenario.population)
    truth = [_batch(scenario, population, noted) for noted, _ in steps]
    kept = [min(len(tensors[Channel.SMASHED]), observe.max_samples) for _, tensors in steps]
    messages = {
        channel: torch.cat([tensors[channel][:rows] for (_, tensors), rows in zip(steps, kept, strict=True)])[:count]
        for channel in (Channel(name) for name in observe.channels)
    }
    labels = [noted.tensors.get("labels") for noted, _ in steps]
    sent = [label[:rows] for label, rows in zip(labels, kept, strict=True) if label is not None]
    sizes = torch.tensor([len(y) for _, y in truth])
    rows = torch.tensor(kept)
    return Victims(
        messages,
        torch.arange(len(steps)).repeat_interleave(rows)[:count],
        sizes.repeat_interleave(rows)[:count],
        torch.cat(sent)[:count] if len(sent) == len(steps) else None,
        torch.cat([x[:r] for (x, _), r in zip(truth, kept, strict=True)])[:count],
        torch.cat([y[:r] for (_, y), r in zip(truth, kept, strict=True)])[:count],
        torch.tensor([noted.client for noted, _ in steps]).repeat_interleave(rows)[:count],
        tuple((noted.position, noted.step) for noted, _ in steps),
    )


Step = tuple[Observation, dict[Channel, torch.Tensor]]
"""The smashed data of a split step, and all channels' tensors of it"""


def _steps(observations: Sequence[Observation], observe: Observe) -> list[Step]:
    """By split step, those of which every channel was kept, in cohort order."""
    found: dict[tuple[int, int], dict[Channel, Observation]] = {}
    for noted in observations:
        if noted.hook == "ObservationHook":
            found.setdefault((noted.position, noted.step), {})[noted.channel] = noted
    wanted = [Channel(name) for name in observe.channels]
    return [
        (step[Channel.SMASHED], {channel: step[channel].tensors["tensor"] for channel in wanted})
        for _, step in sorted(found.items())
        if all(channel in step for channel in wanted)
    ]


def _batch(scenario: Scenario, population: Population, noted: Observation) -> tuple[torch.Tensor, torch.Tensor]:
    """The batch of an honest client's split step, drawn again from the run's streams."""
    x, y = population.train(noted.client)
    batching = scenario.training.batching
    chosen = batching.indices(scenario.seed, noted.round, noted.client, noted.step, len(y))
    rows = slice(None) if chosen is None else torch.from_numpy(chosen)
    return pixels(scenario, x[rows]), y[rows]


def auxiliary_of(scenario: Scenario, count: int, without: Sequence[tuple[int, int, Samples]]) -> Auxiliary | None:
    """At most ``count`` test samples of the evaluated clients that are not attacked: data of the same distribution;
    None where there are none."""
    attacked = {(client, index) for client, index, _ in without}
    rest: list[Samples] = []
    for client, index, sample in tested(scenario):
        if (client, index) not in attacked:
            rest.append(sample)
        if len(rest) == count:
            break
    if not rest:
        return None
    return Auxiliary(pixels(scenario, torch.cat([s.x for s in rest])), torch.cat([s.y for s in rest]))
