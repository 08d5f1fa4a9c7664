"""A shared server portion under detection: every visit is screened before the portion steps on it, whole turns can be
taken back.

Where nothing is rejected and nothing taken back it computes what ``ServerSide`` computes, bit for bit. Visits come in
the planned order wherever this runs, so what detectors remember depends on the scenario alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch

from raysplit.channels.channel import Channel
from raysplit.defenses.detection.detection import Detection, LocalRoundView, SplitStepView
from raysplit.errors import ScenarioError
from raysplit.memory.memory import State
from raysplit.protocols.outcome import DetectionRecord
from raysplit.protocols.plan import RoundPlan
from raysplit.protocols.split_steps import SplitStep
from raysplit.training.parties import Score, ServerSlot
from raysplit.training.servers.server_side import Replicas, Reply


@dataclass(frozen=True)
class Watch:
    """A scenario's detection as one round begins: what its detectors remember, and how many labels the model tells
    apart."""

    detection: Detection
    memory: State
    classes: int


class _Portion(NamedTuple):
    """The server portion after a turn that was let stand, flat, with its optimiser's state, and the round of that
    turn."""

    vector: torch.Tensor
    state: State
    round: int


class WatchedServer:
    """The main server of a round with ``Scenario.detection``: one shared portion that steps after every accepted
    visit."""

    def __init__(
        self, plan: RoundPlan, slot: ServerSlot, vector: torch.Tensor, state: State | None, watch: Watch
    ) -> None:
        self._plan, self._slot, self._watch = plan, slot, watch
        self._detection = watch.detection
        slot.enter(vector, state if plan.server_state == "persistent" else None, plan.server_lr)
        self._memories = [_under(watch.memory, f"screen/{number}/") for number in range(len(self._detection.screens))]
        self._local_rounds = _under(watch.memory, "rollback/")
        self._kept = _kept(_under(watch.memory, "kept/"))
        if self._detection.rollback is not None and not self._kept:
            self._keep()
        self._smashed: torch.Tensor | None = None
        self.detected: dict[int, DetectionRecord] = {}

    def smashed(self, split_step: SplitStep, z: torch.Tensor, y: torch.Tensor | None) -> list[Reply]:
        """Not U-shaped: the whole visit. U-shaped (``y`` is None): forward to the second cut."""
        slot, plan = self._slot, self._plan
        slot.begin(plan.seed, plan.round, int(plan.clients[split_step.position]), split_step.step)
        self._buffers = slot.flat.vector[slot.flat.parameters :].clone()
        if y is None:
            self._smashed = z
            return [Reply(Channel.FEATURES, split_step, slot.forward(z), None)]
        gradient, score = slot.gradients(z, y)
        return [
            Reply(
                Channel.CUT_GRADIENTS,
                split_step,
                self._settle(split_step, gradient, self._view(split_step, z, y, score, gradient)),
                score,
            )
        ]

    def feature_gradients(self, split_step: SplitStep, gradient: torch.Tensor) -> list[Reply]:
        """U-shaped: the second half of a visit."""
        assert self._smashed is not None
        view = self._view(split_step, self._smashed, None, None, gradient)
        self._smashed = None
        answer = self._settle(split_step, self._slot.feature_gradients(gradient), view)
        return [Reply(Channel.CUT_GRADIENTS, split_step, answer, None)]

    def shared_result(self) -> tuple[torch.Tensor, State]:
        return self._slot.flat.vector.clone(), self._slot.state()

    def replicas(self) -> Replicas:
        return Replicas({}, {})

    def remembered(self) -> State:
        """After the last visit: what the detectors find in the next round."""
        found = {
            f"screen/{i}/{name}": tensor for i, memory in enumerate(self._memories) for name, tensor in memory.items()
        }
        found.update({f"rollback/{name}": tensor for name, tensor in self._local_rounds.items()})
        for number, portion in enumerate(self._kept):
            found[f"kept/{number}/portion"] = portion.vector.cpu()
            found[f"kept/{number}/round"] = torch.tensor(portion.round)
            found.update({f"kept/{number}/state/{name}": tensor.cpu() for name, tensor in portion.state.items()})
        return found

    def _view(
        self,
        split_step: SplitStep,
        z: torch.Tensor,
        y: torch.Tensor | None,
        score: Score | None,
        gradients: torch.Tensor,
    ) -> SplitStepView:
        plan, loss = self._plan, None if score is None else score.loss
        client = int(plan.clients[split_step.position])
        return SplitStepView(
            plan.round, client, split_step.step, z.detach(), y, loss, gradients.detach(), self._watch.classes
        )

    def _settle(self, split_step: SplitStep, gradient: torch.Tensor, view: SplitStepView) -> torch.Tensor:
        """Learn from a visit or not, and say what the client gets back."""
        accepted = self._accepts(view)
        record = self.detected.setdefault(split_step.position, DetectionRecord())
        record.split_steps += 1
        if accepted:
            self._slot.step()
        else:
            record.rejected += 1
            self._slot.flat.vector[self._slot.flat.parameters :].copy_(self._buffers)
        if self._plan.server_state == "each_batch":
            self._slot.forget()
        if self._detection.rollback is not None and split_step.step == self._plan.steps[split_step.position] - 1:
            record.undone = self._end_local_round(view.client)
            record.local_rounds += 1
        return gradient if accepted or self._detection.answer == "gradients" else torch.zeros_like(gradient)

    def _accepts(self, view: SplitStepView) -> bool:
        """Every screen sees every visit that is made of numbers, so that what it remembers does not hang on its
        neighbours."""
        screens = self._detection.screens
        if screens and not bool(view.smashed.isfinite().all() and view.gradients.isfinite().all()):
            return False
        accepted = True
        for number, screen in enumerate(screens):
            verdict = screen.judge(view, self._memories[number])
            self._memories[number] = dict(verdict.memory)
            accepted = accepted and verdict.accept
        return accepted

    def _end_local_round(self, client: int) -> int:
        """How many turns were taken back, this one included."""
        rollback = self._detection.rollback
        assert rollback is not None
        view = LocalRoundView(
            self._plan.round, client, self._layers(self._kept[-1].vector), self._layers(self._slot.flat.vector)
        )
        judgement = rollback.judge(view, self._local_rounds)
        self._local_rounds = dict(judgement.memory)
        if not 0 <= judgement.undo <= len(self._kept):
            raise ScenarioError(
                f"{type(rollback).__name__}.judge() takes {judgement.undo} turns back, but {len(self._kept)} portions "
                "are kept; "
                "its window bounds both"
            )
        if judgement.undo == 0:
            self._keep()
            return 0
        del self._kept[len(self._kept) - judgement.undo + 1 :]
        vector, state, round = self._kept[-1]
        # An optimiser that begins every round anew has nothing to remember from an earlier one.
        goes_on = self._plan.server_state == "persistent" or round == self._plan.round
        self._slot.enter(vector, state if goes_on else None, self._plan.server_lr)
        return judgement.undo

    def _keep(self) -> None:
        """The portion as it stands, after a turn that was let stand (or before the first)."""
        rollback = self._detection.rollback
        assert rollback is not None
        self._kept.append(_Portion(self._slot.flat.vector.clone(), self._slot.state(), self._plan.round))
        del self._kept[: -rollback.window]

    def _layers(self, vector: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The parameters in a flat portion, in their own shapes."""
        flat = self._slot.flat
        return tuple(flat.named_tensors(vector)[name] for name in flat.names[: len(flat.trainable)])


def _under(memory: State, prefix: str) -> State:
    return {name.removeprefix(prefix): tensor for name, tensor in memory.items() if name.startswith(prefix)}


def _kept(memory: State) -> list[_Portion]:
    """The inverse of what ``remembered`` writes of the kept portions."""
    count = sum(name.endswith("/portion") for name in memory)
    return [
        _Portion(memory[f"{n}/portion"].clone(), _under(memory, f"{n}/state/"), int(memory[f"{n}/round"]))
        for n in range(count)
    ]
