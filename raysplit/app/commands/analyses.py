"""Commands that look at models, attacks and runs: ``raysplit model``, ``cuts``, ``matrix``, ``infer``, ``audit`` and
``certify``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from raysplit.app.commands.options import File, OnlyOne, Sets

analyses_app = typer.Typer()


@analyses_app.command()
def model(
    name: Annotated[str, typer.Argument(help="A model by its maker's name, such as femnist_cnn.")],
    cut: Annotated[str | None, typer.Option("--cut", help="A cut to mark: a paper's name or a stage's.")] = None,
    sets: Annotated[list[str] | None, typer.Option("--set", help="An argument: --set classes=7 (repeatable).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """A model's stages: sizes, forward FLOPs, what crosses the wire at each cut, and the client's share."""
    from raysplit.models.overview import model_named, show

    show(name, model_named(name, sets or [], cut), as_json)


@analyses_app.command()
def cuts(
    file: File,
    only: OnlyOne = None,
    train: Annotated[int | None, typer.Option("--train", min=1, help="Rounds to train at every cut.")] = None,
    leakage: Annotated[
        str | None,
        typer.Option("--leakage", help="What leaks at every cut, by an attack such as 'WhiteBoxInversion(steps=500)'."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Where cuts.csv, cuts.json and cuts.png go.")] = None,
    sets: Sets = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="The table as JSON on standard output, nothing else.")
    ] = False,
) -> None:
    """Where should I cut? Every cut's shares, bytes, FLOPs of a training step, time and, with --train, accuracy."""
    from raysplit.app.commands.cuts import show_cuts

    show_cuts(file, only, train, leakage, out, sets or [], as_json)


@analyses_app.command()
def matrix(
    updates: Annotated[
        Path | None, typer.Option("--updates", help="A recorded round's file, or a run folder that has some.")
    ] = None,
    round: Annotated[
        int | None, typer.Option("--round", help="Which of the run's rounds; default: the newest.")
    ] = None,
    synthetic: Annotated[
        str | None, typer.Option("--synthetic", help="N,M,D: made-up updates, clients, malicious, floats.")
    ] = None,
    attacks: Annotated[
        str | None, typer.Option("--attacks", help="Such as 'MinMax, LittleIsEnough(z=1.5)'; default: all.")
    ] = None,
    rules: Annotated[
        str | None, typer.Option("--rules", help="Such as 'Krum, TrimmedMean(f=2)'; default: all.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of the made-up updates; default: 42.")] = None,
    out: Annotated[Path, typer.Option("--out", help="Where matrix.csv, .json and .png go.")] = Path("runs/matrix"),
    as_json: Annotated[
        bool, typer.Option("--json", help="The table as JSON on standard output, nothing else.")
    ] = False,
) -> None:
    """Attacks against rules on one matrix of updates, recorded or made up: bias, cosine, who gets in."""
    from raysplit.app.commands.matrix import show_matrix

    show_matrix(updates, round, synthetic, attacks, rules, seed, out, as_json)


@analyses_app.command()
def infer(
    run: Annotated[Path, typer.Argument(help="A run folder that has a checkpoint.")],
    attack: Annotated[
        str, typer.Option("--attack", help="Such as 'UnSplit(rounds=100), WhiteBoxInversion(steps=1000)'.")
    ],
    parties: Annotated[
        list[str] | None,
        typer.Option("--party", help="main_server (the default), fed_server, client; repeatable: they collude."),
    ] = None,
    knows: Annotated[
        list[str] | None,
        typer.Option("--knows", help="Facts, such as architecture; repeatable; default: all that the attack needs."),
    ] = None,
    round: Annotated[
        int | None, typer.Option("--round", help="A round of training; default: the trained model in use.")
    ] = None,
    samples: Annotated[int, typer.Option("--samples", help="How many samples are attacked.")] = 10,
    client: Annotated[int | None, typer.Option("--client", help="Whose samples; default: anybody's.")] = None,
    auxiliary: Annotated[
        int, typer.Option("--auxiliary", help="Samples that are not attacked: for the adversary, and to compare with.")
    ] = 2000,
    queries: Annotated[int, typer.Option("--queries", help="How many inputs the client portion answers.")] = 1000,
    oracle: Annotated[
        str | None,
        typer.Option(
            "--oracle", help="An attack told everything, for comparison, such as 'QueryDecoder(queries=2000)'."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object an attack on standard output.")] = False,
) -> None:
    """What an adversary infers from a run: inputs, labels or a clone of the client portion, beside guesses."""
    from raysplit.analysis.inference.setup import Setup
    from raysplit.app.commands.infer import infer_run

    infer_run(run, attack, Setup(round, samples, client, auxiliary, queries), parties, knows, as_json, oracle)


@analyses_app.command()
def audit(
    file: File,
    only: OnlyOne = None,
    canaries: Annotated[int, typer.Option("--canaries", min=1, help="Canaries of every client.")] = 16,
    kind: Annotated[
        Literal["dirac", "random", "sample"],
        typer.Option(
            "--kind", help="Gradients of one parameter each, or in a random direction; or samples, one a client."
        ),
    ] = "dirac",
    rounds: Annotated[int | None, typer.Option("--rounds", min=1, help="Default: the scenario's.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the coins.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", help="Where audit.json and audit.arrow go.")] = None,
    sets: Sets = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="The audit as JSON on standard output, nothing else.")
    ] = False,
) -> None:
    """How much private training tells at least: an empirical lower bound of ε beside the claimed upper one."""
    from raysplit.analysis.audit.setup import Setup
    from raysplit.app.commands.audit import show_audit

    show_audit(file, only, Setup(canaries, kind, rounds, seed=seed), out, sets or [], as_json)


@analyses_app.command()
def certify(
    run: Annotated[Path, typer.Argument(help="A run folder that has a checkpoint, of a model with a noise layer.")],
    samples: Annotated[int, typer.Option("--samples", help="How many test samples.")] = 100,
    draws: Annotated[int, typer.Option("--draws", help="Draws of the noise, a sample.")] = 1000,
    confidence: Annotated[
        float, typer.Option("--confidence", help="With which the bounds of a sample's scores hold.")
    ] = 0.95,
    scores: Annotated[
        Literal["votes", "softmax"], typer.Option("--scores", help="What is averaged over the draws.")
    ] = "votes",
    norm: Annotated[
        Literal["1", "2", "inf"] | None, typer.Option("--norm", help="Of the radii; default: the noise layer's.")
    ] = None,
    radii: Annotated[
        list[float] | None, typer.Option("--radius", help="A radius to give the certified accuracy at; repeatable.")
    ] = None,
    attack: Annotated[int, typer.Option("--attack", help="Steps of PGD against every certified sample; 0: none.")] = 0,
    attack_draws: Annotated[
        int, typer.Option("--attack-draws", help="Draws of the noise behind each of its gradients.")
    ] = 20,
    client: Annotated[int | None, typer.Option("--client", help="Whose samples; default: anybody's.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """How far inputs may be changed without changing a run's predictions (PixelDP, randomised smoothing)."""
    from raysplit.analysis.certification.certify import CertificationSetup
    from raysplit.analysis.certification.pgd import Pgd
    from raysplit.app.commands.certify import certify_run

    pgd = Pgd(attack, attack_draws) if attack > 0 else None
    asked = None if norm is None else float(norm)
    certify_run(run, CertificationSetup(samples, draws, confidence, scores, asked, pgd, client), radii, as_json)
