"""A calculation that stops wherever it needs a sum over all column shards, until it is told the total."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from raysplit.aggregation.across import ReductionRequest, answer


@dataclass(frozen=True)
class Done:
    """What a calculation came to."""

    result: Any


class Cancelled(BaseException):
    """Told to a calculation that nobody waits for any more."""


class CollectiveReduction:
    """Runs ``work`` in a thread of its own; ``work`` is given the function by which it asks and waits."""

    def __init__(self, work: Callable[[Callable[[ReductionRequest], torch.Tensor]], Any]) -> None:
        self._requests: queue.SimpleQueue[ReductionRequest | Done | BaseException] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[torch.Tensor | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True, name="raysplit-shard")
        self._begun = False

    def proceed(self, total: torch.Tensor | None) -> ReductionRequest | Done:
        """Tell the ``total`` that was asked for (None at the beginning); what is asked next, or the result. Raises what
        ``work`` raises."""
        if self._begun:
            self._results.put(total)
        else:
            self._begun = True
            self._thread.start()
        answers = self._requests.get()
        if isinstance(answers, BaseException):
            raise answers
        return answers

    def end(self) -> None:
        """Let go of a calculation that is under way, and wait until it has stopped."""
        if self._begun:
            self._results.put(None)
            self._thread.join()

    def _run(self, work: Callable[[Callable[[ReductionRequest], torch.Tensor]], Any]) -> None:
        torch.set_num_threads(1)  # a thread has a count of its own, and last bits depend on it
        try:
            self._requests.put(Done(work(self._exchange)))
        except Cancelled:
            return
        except BaseException as error:
            self._requests.put(error)

    def _exchange(self, requests: ReductionRequest) -> torch.Tensor:
        self._requests.put(requests)
        total = self._results.get()
        if total is None:
            raise Cancelled
        return total


def run_reduction(proceed: Callable[[torch.Tensor | None], Sequence[ReductionRequest | Done]]) -> list[Any]:
    """The results of all shards. ``proceed`` tells every shard a total and returns what each then asks, or its
    result."""
    answers = proceed(None)
    while True:
        requests = [one for one in answers if isinstance(one, ReductionRequest)]
        if not requests:
            return [one.result for one in answers if isinstance(one, Done)]
        if len(requests) < len(answers):
            raise RuntimeError("column shards fell out of step: a rule or an attack decided by its own columns alone")
        answers = proceed(answer(requests))
