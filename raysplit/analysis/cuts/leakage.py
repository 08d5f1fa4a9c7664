"""What leaks at a cut: one inference attack on the model as it stands there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from raysplit.analysis.inference.infer import infer_trained
from raysplit.analysis.inference.setup import Setup
from raysplit.analysis.runs.trained import Trained
from raysplit.attacks.inference.inference_attack import InferenceAttack
from raysplit.errors import ScenarioError
from raysplit.memory.global_state import GlobalState
from raysplit.scenario.scenario import Scenario


@dataclass(frozen=True)
class Leakage:
    """Mean squared error and SSIM of the images that an attack found, inputs scaled to a range of 1. ``guess_mse``: of
    the best image that needs no message; an attack at or above it has found nothing."""

    mse: float
    ssim: float
    guess_mse: float


def leakage_at(scenario: Scenario, state: GlobalState, attack: InferenceAttack, samples: int = 10) -> Leakage:
    """Attack ``samples`` test samples as the model of ``state`` sends them. The adversary is a main server of which all
    is assumed that the attack needs. Raises ``ScenarioError`` where the attack is not after inputs."""
    name = type(attack).__name__
    if attack.goal != "inputs":
        raise ScenarioError(f"a cut's leakage is of inputs, but {name} is after {attack.goal}; use WhiteBoxInversion")
    found = infer_trained(Trained(Path("."), scenario, state), attack, None, Setup(samples=samples))
    values = {(score.of, score.metric): score.value for score in found.scores}
    guesses = [value for (of, metric), value in values.items() if metric == "MSE" and of != name]
    return Leakage(values[name, "MSE"], values[name, "SSIM"], min(guesses))
