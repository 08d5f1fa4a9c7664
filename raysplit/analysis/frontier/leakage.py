"""What leaks at a point of a frontier: the inference attacks on the clean run, each written in its run folder as
``raysplit infer`` writes it, and read from there where it was carried out before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raysplit.analysis.inference.files import record_of, write_inference
from raysplit.analysis.inference.infer import IN_TRAINING, adversary_for, check_attack, infer_trained
from raysplit.analysis.inference.scoring import MATCHED
from raysplit.analysis.inference.setup import Setup
from raysplit.analysis.runs.trained import Trained, read_trained
from raysplit.attacks.inference.inference_attack import InferenceAttack
from raysplit.errors import ScenarioError, UserError
from raysplit.parts.canonical import to_json
from raysplit.scenario.frontier import Frontier
from raysplit.scenario.layout import Layout
from raysplit.scenario.scenario import Scenario
from raysplit.storage.inferences import read_inferences
from raysplit.storage.run_folder import RunFolder


@dataclass(frozen=True)
class Leak:
    """What one attack found at a point. ``attack``: its name in the frontier; ``scores``: by (who found it, metric);
    ``found_by``: the row of the attack, the others are guesses; ``why``: the sentence of what kept it from being carried
    out, else empty."""

    attack: str
    scores: Mapping[tuple[str, str], float]
    found_by: str
    why: str = ""

    def score(self, metric: str) -> float | None:
        """The attack's."""
        return self.scores.get((self.found_by, metric))

    def guesses(self, metric: str) -> list[float]:
        """Those of all guesses that saw no message."""
        return [value for (of, name), value in self.scores.items() if name == metric and of != self.found_by]


def setup_for(frontier: Frontier, attack: InferenceAttack) -> Setup:
    """Against the trained model in use, or, where the attack goes by what there is in training, the frontier's round."""
    reads = bool(attack.reads & set(IN_TRAINING)) or attack.reads_labels or "tail_gradients" in attack.needs
    asks_the_model = attack.goal in ("membership", "server_portion")
    return Setup(
        round=frontier.round if reads and not asks_the_model else None,
        samples=frontier.samples,
        auxiliary=frontier.auxiliary,
        queries=frontier.queries,
    )


def refused_attacks(frontier: Frontier, scenario: Scenario) -> dict[str, str]:
    """Attacks that cannot be carried out on such a scenario, found without training it: name → sentence."""
    untrained = Trained(Path("."), scenario, Layout(scenario).initial())
    refused = {}
    for name, attack in frontier.attacks.items():
        try:
            check_attack(untrained, attack, setup_for(frontier, attack))
            adversary_for(attack, untrained, frontier.adversary)
        except UserError as error:
            refused[name] = str(error)
    return refused


def check_attacks(frontier: Frontier, refused: Mapping[str, Mapping[str, str]]) -> None:
    """Raise ``ScenarioError`` for an attack that no point allows. ``refused``: of each point's scenario what
    ``refused_attacks`` gave."""
    for name in frontier.attacks:
        sentences = [of_point.get(name, "") for of_point in refused.values()]
        if sentences and all(sentences):
            round = "" if "name a round" not in sentences[0] else " (here Frontier.round)"
            raise ScenarioError(f"the attack {name!r} of the frontier is refused everywhere: {sentences[0]}{round}")


def leak_of(name: str, record: Mapping[str, Any]) -> Leak:
    """An inference's record as a leak of the attack ``name``."""
    scores = {(score["of"], score["metric"]): float(score["value"]) for score in record["scores"]}
    kind = record["attack"]["type"]
    found_by = f"{kind}{MATCHED}" if any(of == f"{kind}{MATCHED}" for of, _ in scores) else kind
    return Leak(name, scores, found_by)


def known_leak(frontier: Frontier, name: str, scenario: Scenario, path: Path) -> Leak | None:
    """What the attack ``name`` found in the run in ``path``, where it was carried out before with the same settings."""
    attack = frontier.attacks[name]
    setup = setup_for(frontier, attack)
    adversary = adversary_for(attack, Trained(path, scenario, Layout(scenario).initial()), frontier.adversary)
    asked = {
        "attack": to_json(attack),
        "adversary": {"parties": list(adversary.parties), "assumed": list(adversary.knows)},
        "round": setup.round,
        "client": setup.client,
        "asked": {"samples": setup.samples, "auxiliary": setup.auxiliary, "queries": setup.queries},
    }
    for found in read_inferences(RunFolder(path).inference):
        if "oracle" not in found.record and all(found.record.get(key) == value for key, value in asked.items()):
            return leak_of(name, found.record)
    return None


def leak_at(frontier: Frontier, name: str, scenario: Scenario, path: Path) -> Leak:
    """Carry out the attack ``name`` on the ended run in ``path`` and write it there. Raises ``UserError`` as
    ``raysplit infer``."""
    attack = frontier.attacks[name]
    inference = infer_trained(read_trained(path, scenario), attack, frontier.adversary, setup_for(frontier, attack))
    write_inference(inference, RunFolder(path).inference)
    return leak_of(name, record_of(inference))
