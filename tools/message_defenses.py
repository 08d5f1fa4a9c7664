"""What defences of smashed data cost and what they keep: the tables of docs/how-to/message-defenses.md.

    python tools/message_defenses.py --seed 42 --out runs/message-defenses

trains one small MNIST model a defence and attacks what it sends: with the true client portion (``WhiteBoxInversion``),
with a decoder that was trained on defended messages (``QueryDecoder``), and with one that was trained as if nobody
defended anything. ``--hijack`` plays the feature-space hijacking against each instead. MNIST comes from
``$RAYSPLIT_DATA`` (docs/data-sets.md). Runs that are there already are not played again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

import raysplit
from raysplit import (
    Adam,
    AdditiveNoise,
    Cohort,
    Evaluation,
    FeatureSpaceHijacking,
    Iid,
    NoPeek,
    Quantisation,
    QueryDecoder,
    Run,
    Scenario,
    SmashedDropout,
    SplitFedV1,
    SplitLearning,
    TopK,
    Training,
    WhiteBoxInversion,
    mnist,
    part,
    partitioned,
    unsplit_mnist,
)
from raysplit.attacks.inference.decoders import DecoderTraining, strongest
from raysplit.contracts import Channel, Goal, InferenceAttack, Reconstruction
from raysplit.defenses.messages.message_defense import MessageDefense
from raysplit.models.decoders import DECODERS

DEFENCES: dict[str, tuple[MessageDefense, ...]] = {
    "none": (),
    "NoPeek 2": (NoPeek(weight=2.0),),
    "noise 0.5": (AdditiveNoise(scale=0.5),),
    "noise 2": (AdditiveNoise(scale=2.0),),
    "dropout 0.5": (SmashedDropout(share=0.5),),
    "top-k 0.1": (TopK(share=0.1),),
    "2 bits": (Quantisation(bits=2),),
}
HIJACKED: dict[str, tuple[MessageDefense, ...]] = {
    "none": (),
    "NoPeek 2": (NoPeek(weight=2.0),),
    "noise 1": (AdditiveNoise(scale=1.0),),
}
TRAINING = DecoderTraining(epochs=10)


@part
class UnawareDecoder(InferenceAttack):
    """A decoder that was trained on undefended smashed data of ``queries`` auxiliary samples."""

    queries: int = 2000
    goal: Goal = "inputs"

    @property
    def reads(self):  # type: ignore[no-untyped-def]
        return frozenset({Channel.SMASHED})

    @property
    def needs(self):  # type: ignore[no-untyped-def]
        return frozenset({"client_weights", "auxiliary_data"})

    def infer(self, observed, knowledge):  # type: ignore[no-untyped-def]
        x = knowledge.auxiliary().x[: self.queries]
        with torch.no_grad():
            z = knowledge.client_portion()(x)
        network, _ = strongest(DECODERS[:1], (z, x), TRAINING, knowledge.generator("decoder"))
        with torch.no_grad():
            return Reconstruction(inputs=network(observed.on(Channel.SMASHED)).clamp(*knowledge.range))


ATTACKS = {
    "white box": WhiteBoxInversion(steps=500),
    "decoder": QueryDecoder(queries=2000, training=TRAINING),
    "unaware decoder": UnawareDecoder(),
}


def deployed(name: str, seed: int) -> Scenario:
    """100 clients share the images, 10 train a round."""
    return Scenario(
        name=f"defended-{name.replace(' ', '-')}-{seed}",
        population=partitioned(mnist(), Iid(), clients=100),
        model=unsplit_mnist(cut="2"),
        protocol=SplitFedV1(),
        cohort=Cohort(size=10),
        training=Training(rounds=8, lr=1e-3, batch_size=64, optimizer=Adam(), client_state="per_client"),
        evaluation=Evaluation(every=8, clients=50),
        seed=seed,
        message_defenses=DEFENCES[name],
    )


def hijacked(name: str, seed: int) -> Scenario:
    """scenarios/pasquini2021/hijacking_small.py with smaller networks of the attacker's, ten rounds and one that is
    attacked."""
    return Scenario(
        name=f"hijacked-{name.replace(' ', '-')}-{seed}",
        population=partitioned(mnist(), Iid(), clients=20),
        model=unsplit_mnist(cut="2"),
        protocol=SplitLearning(),
        cohort=Cohort(size=1),
        training=Training(rounds=11, lr=1e-3, batch_size=64, optimizer=Adam(), client_state="travels"),
        attack=FeatureSpaceHijacking(public=1000, width=16, blocks=1),
        evaluation=Evaluation(every=10, clients=2),
        checkpoint_every=10,
        seed=seed,
        message_defenses=HIJACKED[name],
    )


def scores(run: Run, attack: InferenceAttack, round: int | None = None) -> dict[str, float]:
    """By whose guess and the score's name, over 50 images."""
    found = raysplit.infer(run, attack, round=round, samples=50, queries=2000)
    return {f"{score.of} {score.metric}": score.value for score in found.scores}


def row_of_deployed(name: str, seed: int, out: Path) -> str:
    run = raysplit.run(deployed(name, seed), engine="local", out=out)
    accuracy = run.evaluations.to_pylist()[-1]["accuracy"]
    sent = [row for row in run.channels.to_pylist() if row["channel"] == "smashed"]
    samples = sum(row["label_bytes"] for row in sent) / 8
    size = sum(row["bytes"] - row["label_bytes"] for row in sent) / samples
    found = []
    for attack in ATTACKS.values():
        values = scores(run, attack)
        found.append(f"{values[f'{type(attack).__name__} MSE']:.4f} / {values[f'{type(attack).__name__} SSIM']:.2f}")
    return f"| {name} | {100 * accuracy:.1f} | {size:,.0f} | {' | '.join(found)} |"


def row_of_hijacked(name: str, seed: int, out: Path) -> str:
    run = raysplit.run(hijacked(name, seed), engine="local", out=out)
    accuracy = run.evaluations.to_pylist()[0]["accuracy"]
    values = scores(run, raysplit.HijackedInversion(), round=11)
    numbers = ", ".join(f"{of} {value:.3f}" for of, value in values.items() if of.endswith(("MSE", "SSIM")))
    return f"| {name} | {100 * accuracy:.1f} | {numbers} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--out", type=Path, default=Path("runs/message-defenses"))
    parser.add_argument("--hijack", action="store_true")
    options = parser.parse_args()
    rows, names = (row_of_hijacked, HIJACKED) if options.hijack else (row_of_deployed, DEFENCES)
    for name in names:
        print(rows(name, options.seed, options.out), flush=True)


if __name__ == "__main__":
    main()
