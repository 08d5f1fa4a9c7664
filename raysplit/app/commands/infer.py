"""The work behind ``raysplit infer``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

from rich.console import Console
from rich.table import Table

from raysplit.analysis.inference.files import record_of, write_inference
from raysplit.analysis.inference.infer import Inference, infer_trained
from raysplit.analysis.inference.oracle import check_oracle, is_above_oracle, with_oracle
from raysplit.analysis.inference.setup import Setup
from raysplit.analysis.matrix.parts import parts_named
from raysplit.analysis.runs.run import open_run
from raysplit.analysis.runs.trained import Trained, read_trained
from raysplit.attacks.inference.adversary import LEARNED_BY, ORACLES, Adversary, Fact, PartyName
from raysplit.attacks.inference.inference_attack import InferenceAttack, usual_parties
from raysplit.errors import ScenarioError, nearest
from raysplit.storage.run_folder import RunFolder
from raysplit.storage.stored_scenario import stored_scenario


def infer_run(
    path: Path,
    attacks: str,
    setup: Setup,
    parties: list[str] | None,
    knows: list[str] | None,
    as_json: bool,
    oracle: str | None = None,
) -> None:
    """Carry out attacks on a run one after another, print their scores and write them into the run folder."""
    chosen = attacks_named(attacks, "--attack")
    told_everything = None if oracle is None else attacks_named(oracle, "--oracle")[0]
    if told_everything is not None:
        for attack in chosen:
            check_oracle(told_everything, attack)
    open_run(path)  # a sentence where it is none
    folder = RunFolder(path)
    trained = read_trained(path, stored_scenario(folder)[0])
    console = Console(stderr=as_json, highlight=False)
    for attack in chosen:
        adversary = _adversary(attack, trained, parties, knows)
        with console.status(f"{type(attack).__name__} on {path.name}"):
            inference = infer_trained(trained, attack, adversary, setup)
            if told_everything is not None:
                inference = with_oracle(inference, told_everything)
        written = write_inference(inference, folder.inference)
        if as_json:
            print(json.dumps({**record_of(inference), "path": str(written)}), flush=True)
            continue
        for line in threat_lines(inference):
            console.print(line, markup=False, soft_wrap=True)
        console.print(score_table(inference))
        console.print(str(written), markup=False, soft_wrap=True)


def attacks_named(text: str, option: str) -> list[InferenceAttack]:
    """The inference attacks in a list such as ``"UnSplit(rounds=100), WhiteBoxInversion"``, one at least."""
    parts = parts_named(text, "attacks.inference", option)
    for label, part in parts.items():
        if not isinstance(part, InferenceAttack):
            raise ScenarioError(f"{option} takes inference attacks such as UnSplit, but {label} is none")
    if not parts:
        raise ScenarioError(f"{option} names no attack; give one such as 'UnSplit(rounds=100)'")
    return list(parts.values())


def _adversary(
    attack: InferenceAttack, trained: Trained, parties: list[str] | None, knows: list[str] | None
) -> Adversary | None:
    """None: ``adversary_for``'s, of which all is assumed that the attack needs. Raises ``ScenarioError`` for a word that
    is no party or no fact."""
    if not parties and not knows:
        return None
    named = parties or usual_parties(attack, trained.scenario.protocol)
    together = Adversary(tuple(_one_of(word, "--party", get_args(PartyName)) for word in named))
    if knows:
        return Adversary(together.parties, tuple(_one_of(word, "--knows", get_args(Fact)) for word in knows))
    held = together.facts(trained.scenario.protocol) | LEARNED_BY.keys()
    return Adversary(together.parties, tuple(sorted(attack.needs - held)))


def _one_of(word: str, option: str, words: tuple[Any, ...]) -> Any:
    if word not in words:
        raise ScenarioError(f"{option} knows no {word!r}; {nearest(word, words)}")
    return word


def threat_lines(inference: Inference) -> list[str]:
    """Who attacks whom with what, in words."""
    adversary, setup = inference.adversary, inference.setup
    when = "the trained model in use" if setup.round is None else f"round {setup.round} of training"
    assumed = ", ".join(adversary.knows) or "nothing"
    reads = ", ".join(sorted(channel.value for channel in inference.attack.reads)) or "no channel"
    queries = f"; {inference.found.queries} queries" if inference.found.queries else ""
    told = f"; told the labels of {inference.told} of them, which are not scored" if inference.told else ""
    lines = [
        f"{type(inference.attack).__name__} by {' and '.join(adversary.parties)}, against {when}: "
        f"{len(inference.victims)} samples, {inference.seconds:.1f} s",
        f"reads {reads}; knows by its parties {_held(inference)}; assumed besides: {assumed}{queries}{told}",
    ]
    members = inference.victims.members
    if members is not None:
        others = int((~members).sum())
        lines.append(
            f"{int(members.sum())} members and {others} non-members: a false-positive rate of 0.1 % is "
            + (f"{others // 1000} of them" if others >= 1000 else "less than one of them and is not given")
        )
    if inference.found.chosen:
        lines.append(inference.found.chosen)
    if is_above_oracle(inference):
        lines.append(
            f"above the oracle: {type(inference.attack).__name__} came nearer than an attack that is told everything; "
            "choose a stronger oracle (several decoders, more trials, WhiteBoxInversion), or ask what it saw"
        )
    for fact in sorted(inference.attack.needs & ORACLES):
        lines.append(f"an oracle: no message brings '{fact}' to anybody, so no real adversary can do this")
    return lines


def _held(inference: Inference) -> str:
    return ", ".join(sorted(set(inference.attack.needs) - set(inference.adversary.knows))) or "nothing more"


def score_table(inference: Inference) -> Table:
    """A row for the attack and for every guess, a column a metric."""
    metrics = list(dict.fromkeys(score.metric for score in inference.scores))
    names = list(dict.fromkeys(score.of for score in inference.scores))
    values: dict[tuple[str, str], Any] = {(score.of, score.metric): score.value for score in inference.scores}
    table = Table("", *metrics)
    for name in names:
        cells = [values.get((name, metric)) for metric in metrics]
        table.add_row(name, *("" if value is None else f"{value:.3f}" for value in cells))
    return table
