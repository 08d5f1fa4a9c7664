"""The oracle line: what an attack that is told everything finds of the same samples, beside the scores of one that is not.

A decoder that is trained on true pairs (z, x) of data that are not attacked bounds what decoders can learn: one that
learns an inverse from less and comes nearer is tuned better, or saw more than it should. An attack that searches for
images, such as white-box inversion, is bound by no decoder; ``WhiteBoxInversion`` is its oracle.
"""

from __future__ import annotations

from dataclasses import replace

from raysplit.analysis.inference.infer import Inference
from raysplit.analysis.inference.scoring import scores_of
from raysplit.attacks.inference.inference_attack import InferenceAttack, Knowledge, Observed
from raysplit.errors import ScenarioError


def with_oracle(inference: Inference, oracle: InferenceAttack) -> Inference:
    """``inference`` with the scores of ``oracle``, which no threat model holds back: it has the client portion's weights
    and answers without a budget, and the auxiliary samples. Raises ``ScenarioError`` where one of the two is not after
    inputs, or the oracle needs what there is not."""
    name, kind = type(oracle).__name__, type(inference.attack).__name__
    for one, goal in ((name, oracle.goal), (kind, inference.attack.goal)):
        if goal != "inputs":
            raise ScenarioError(
                f"an oracle bounds what is found of inputs, but {one} is after {goal}; leave --oracle out"
            )
    if "auxiliary_data" in oracle.needs and inference.target.auxiliary is None:
        raise ScenarioError(
            f"the oracle {type(oracle).__name__} learns from samples that are not attacked, but there are none; raise Evaluation.clients"
        )
    victims = inference.victims
    known = replace(inference.target, query_budget=1 << 62)
    observed = Observed(oracle, victims.messages, victims.batches, victims.batch_sizes, victims.labels)
    found = replace(oracle.infer(observed, Knowledge(oracle, known)), clones=())
    row = oracle_row(oracle)
    scores = [score for score in scores_of(row, found, victims, known) if score.of == row]
    chosen = inference.found.chosen
    if found.chosen:
        chosen = f"{chosen}; {row}: {found.chosen}" if chosen else f"{row}: {found.chosen}"
    return replace(
        inference, oracle=oracle, scores=[*inference.scores, *scores], found=replace(inference.found, chosen=chosen)
    )


def check_oracle(oracle: InferenceAttack, attack: InferenceAttack) -> None:
    """Raise ``ScenarioError`` unless both are after inputs."""
    for one in (oracle, attack):
        if one.goal != "inputs":
            raise ScenarioError(
                f"an oracle bounds what is found of inputs, but {type(one).__name__} is after {one.goal}; leave "
                "--oracle out"
            )


def oracle_row(oracle: InferenceAttack) -> str:
    """What its row of scores is called."""
    return f"oracle: {type(oracle).__name__}"


def is_above_oracle(inference: Inference) -> bool:
    """Whether the attack's mean squared error is smaller than its oracle's; no where there is none."""
    if inference.oracle is None:
        return False
    mse = {score.of: score.value for score in inference.scores if score.metric == "MSE"}
    return mse[type(inference.attack).__name__] < mse[oracle_row(inference.oracle)]
