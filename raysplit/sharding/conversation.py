"""A calculation that stops wherever it needs a sum over all column shards, until it is told the total."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from raysplit.across import Asked, answer


@dataclass(frozen=True)
class Done:
    """What a calculation came to."""

    result: Any


class Over(BaseException):
    """Told to a calculation that nobody waits for any more."""


class Conversation:
    """Runs ``work`` in a thread of its own; ``work`` is given the function by which it asks and waits."""

    def __init__(self, work: Callable[[Callable[[Asked], torch.Tensor]], Any]) -> None:
        self._said: queue.SimpleQueue[Asked | Done | BaseException] = queue.SimpleQueue()
        self._heard: queue.SimpleQueue[torch.Tensor | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True, name="raysplit-shard")
        self._begun = False

    def say(self, total: torch.Tensor | None) -> Asked | Done:
        """Tell the ``total`` that was asked for (None at the beginning); what is asked next, or the result. Raises what ``work`` raises."""
        if self._begun:
            self._heard.put(total)
        else:
            self._begun = True
            self._thread.start()
        said = self._said.get()
        if isinstance(said, BaseException):
            raise said
        return said

    def end(self) -> None:
        """Let go of a calculation that is under way, and wait until it has stopped."""
        if self._begun:
            self._heard.put(None)
            self._thread.join()

    def _run(self, work: Callable[[Callable[[Asked], torch.Tensor]], Any]) -> None:
        torch.set_num_threads(1)  # a thread has a count of its own, and last bits depend on it
        try:
            self._said.put(Done(work(self._exchange)))
        except Over:
            return
        except BaseException as error:
            self._said.put(error)

    def _exchange(self, asked: Asked) -> torch.Tensor:
        self._said.put(asked)
        total = self._heard.get()
        if total is None:
            raise Over
        return total


def converse(say: Callable[[torch.Tensor | None], Sequence[Asked | Done]]) -> list[Any]:
    """The results of all shards. ``say`` tells every shard a total and returns what each then asks, or its result."""
    said = say(None)
    while True:
        asked = [one for one in said if isinstance(one, Asked)]
        if not asked:
            return [one.result for one in said if isinstance(one, Done)]
        if len(asked) < len(said):
            raise RuntimeError("column shards fell out of step: a rule or an attack decided by its own columns alone")
        said = say(answer(asked))
