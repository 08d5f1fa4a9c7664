"""A calculation on one column shard that waits at every all-reduce, and running those of all shards in lockstep."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from raysplit.aggregation.across import AllReduce, ReductionRequest, reduce


@dataclass(frozen=True)
class Done:
    """The ``result`` of a calculation."""

    result: Any


class _Cancelled(BaseException):
    """Raised inside a calculation whose result nobody waits for any more."""


class CollectiveReduction:
    """One shard's ``calculation``, run in a thread of its own; it is given the ``AllReduce`` at which it waits."""

    def __init__(self, calculation: Callable[[AllReduce], Any]) -> None:
        self._answers: queue.SimpleQueue[ReductionRequest | Done | BaseException] = queue.SimpleQueue()
        self._totals: queue.SimpleQueue[torch.Tensor | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, args=(calculation,), daemon=True, name="raysplit-shard")
        self._begun = False

    def resume(self, total: torch.Tensor | None) -> ReductionRequest | Done:
        """Run to the next all-reduce, whose request is returned, or to the end. ``total``: the result of the one at
        which the calculation waits; None to begin. Raises what the calculation raises."""
        if self._begun:
            self._totals.put(total)
        else:
            self._begun = True
            self._thread.start()
        answer = self._answers.get()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def cancel(self) -> None:
        """Stop a calculation that is under way, and wait until its thread has ended."""
        if self._begun:
            self._totals.put(None)
            self._thread.join()

    def _run(self, calculation: Callable[[AllReduce], Any]) -> None:
        torch.set_num_threads(1)  # a thread has a count of its own, and last bits depend on it
        try:
            self._answers.put(Done(calculation(self._all_reduce)))
        except _Cancelled:
            return
        except BaseException as error:
            self._answers.put(error)

    def _all_reduce(self, request: ReductionRequest) -> torch.Tensor:
        self._answers.put(request)
        total = self._totals.get()
        if total is None:
            raise _Cancelled
        return total


def run_in_lockstep(resume: Callable[[torch.Tensor | None], Sequence[ReductionRequest | Done]]) -> list[Any]:
    """The results of all shards' calculations. ``resume``: ``CollectiveReduction.resume`` of every shard, in the order
    of their columns.

    Raises ``RuntimeError`` where some shards have ended and others ask for a reduction.
    """
    answers = resume(None)
    while True:
        requests = [answer for answer in answers if isinstance(answer, ReductionRequest)]
        if not requests:
            return [answer.result for answer in answers if isinstance(answer, Done)]
        if len(requests) < len(answers):
            raise RuntimeError("column shards fell out of step: a rule or an attack decided by its own columns alone")
        answers = resume(reduce(requests))
