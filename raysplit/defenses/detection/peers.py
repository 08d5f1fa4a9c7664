"""What clients looked like lately, one entry a client, and how far one is from the others.

An entry sums a client's split steps of one round, so that it gives the mean of a local round so far and one client
counts once however often it comes. The entries of those clients that came longest ago are forgotten, which bounds the
memory in any population. Malicious clients' entries are kept too: medians tolerate them while they are fewer than half,
and a server that forgot whom it rejected could never take back a wrong idea of what is usual.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from raysplit.memory.memory import State

CLIENTS, ROUNDS = "clients", "rounds"
MAD_TO_SD = 1.4826
"""The median absolute deviation of a Gaussian times this is its standard deviation."""


def add_split_step(
    memory: Mapping[str, torch.Tensor], client: int, round: int, amounts: Mapping[str, torch.Tensor], most: int
) -> State:
    """``memory`` with ``amounts`` added to the client's entry of this round, which comes last; at most ``most``
    entries.

    ``memory``: ``clients``, ``rounds`` int64 [n], and the sums by name, [n, …].
    """
    amounts = {"visits": torch.ones((), dtype=torch.float64), **amounts}
    if not memory:
        none = torch.zeros(0, dtype=torch.int64)
        memory = {
            CLIENTS: none,
            ROUNDS: none,
            **{name: amount.new_zeros(0, *amount.shape) for name, amount in amounts.items()},
        }
    own_entry = memory[CLIENTS] == client
    going_on = bool((memory[ROUNDS][own_entry] == round).any())
    keep = torch.nonzero(~own_entry).flatten()[-(most - 1) :] if most > 1 else torch.zeros(0, dtype=torch.int64)
    after: State = {
        CLIENTS: torch.cat([memory[CLIENTS][keep], torch.tensor([client])]),
        ROUNDS: torch.cat([memory[ROUNDS][keep], torch.tensor([round])]),
    }
    for name, amount in amounts.items():
        entry = amount.unsqueeze(0)
        if going_on:
            entry = memory[name][own_entry] + entry
        after[name] = torch.cat([memory[name][keep], entry])
    return after


def means(memory: Mapping[str, torch.Tensor], name: str) -> torch.Tensor:
    """A scalar's mean over each entry's split steps, float64 [n], the client that came last at the end."""
    return memory[name] / memory["visits"]


def deviation(values: torch.Tensor, floor: float) -> float:
    """How many robust standard deviations the last of ``values`` [n] lies above the median of the others; below it is
    negative.

    The others' spread is their median absolute deviation, taken as at least ``floor``: differences that small are never
    remarkable.
    """
    others, own = values[:-1], values[-1]
    centre = others.median()
    spread = MAD_TO_SD * (others - centre).abs().median()
    return float((own - centre) / spread.clamp_min(floor))
