"""Multi-task split learning: Vepakomma et al. 2018, section 3; a configuration of SplitFed by Thapa et al. 2022,
"Variants"."""

from __future__ import annotations

from typing import ClassVar

from raysplit.errors import ScenarioError
from raysplit.parts.part import part, within
from raysplit.protocols.protocol import ClientState, ClientSync, Order, ServerPortion, ServerState, TrainingProtocol
from raysplit.protocols.topology import Topology


@part
class Task:
    """What one server learns. ``labels[c]``: the task's label of class c (None: the class itself), from 0 on;
    ``weight``: of its loss.

    ``Task("kind", labels=(0,) * 10 + (1,) * 26 + (2,) * 26)`` tells FEMNIST's digits, capitals and small letters apart.
    """

    name: str
    labels: tuple[int, ...] | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        within("Task.weight", self.weight, 0)
        if self.labels is not None and (not self.labels or min(self.labels) < 0):
            raise ScenarioError(
                f"Task.labels must be one label a class, from 0 on, but task {self.name!r} has {self.labels!r}"
            )


@part
class MultiTaskSplit(TrainingProtocol):
    """One head, and a server for every task with a server portion, labels and a loss of its own; the head gets the sum
    of their gradients.

    The loss is Σ weight · cross-entropy: each server steps on its weighted part, the head on the sum (tests/invariants
    hold it to one network of several tails). Every server gets the same smashed data and holds its own labels, so
    messages are counted once a server. The data are the cohort's, pooled in cohort order. Train loss is the sum; train
    accuracy and evaluations are those of the first task.
    """

    tasks: tuple[Task, ...]

    client_sync: ClassVar[ClientSync] = "one_party"
    server: ClassVar[ServerPortion] = "shared"
    order: ClassVar[Order] = "client_major"
    client_state: ClassVar[ClientState] = "per_client"
    server_state: ClassVar[ServerState] = "persistent"

    def __post_init__(self) -> None:
        if not self.tasks or len({task.name for task in self.tasks}) < len(self.tasks):
            raise ScenarioError("MultiTaskSplit needs one task or more, each with a name of its own")

    @property
    def topology(self) -> Topology:
        labels = tuple(task.labels for task in self.tasks)
        return Topology("multi_task", labels=labels, weights=tuple(task.weight for task in self.tasks))
