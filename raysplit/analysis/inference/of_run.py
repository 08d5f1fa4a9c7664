"""``raysplit.infer``: an inference attack on a run, from a script or a notebook."""

from __future__ import annotations

from raysplit.analysis.inference.infer import Inference, infer_trained
from raysplit.analysis.inference.oracle import check_oracle, with_oracle
from raysplit.analysis.inference.setup import Setup
from raysplit.analysis.runs.run import Run
from raysplit.attacks.inference.adversary import Adversary
from raysplit.attacks.inference.inference_attack import InferenceAttack


def infer(
    run: Run,
    attack: InferenceAttack,
    adversary: Adversary | None = None,
    *,
    round: int | None = None,
    samples: int = 10,
    client: int | None = None,
    auxiliary: int = 2000,
    queries: int = 1000,
    oracle: InferenceAttack | None = None,
) -> Inference:
    """What an adversary makes of what a run showed it: ``found``, the truth in ``victims``, and ``scores``.

    ``adversary``: None: the servers that hold what the attack reads, of which all is assumed that it needs. ``round``: of training,
    which is played again where nobody recorded it; None: the trained model in use, on test samples. ``samples``: how
    many are attacked; ``client``: whose only; ``auxiliary``: how many samples that are not attacked the adversary may
    have, and the scores compare with; ``queries``: how many inputs the client portion answers. ``oracle``: an attack whose
    scores stand beside, because it is told everything. Nothing is written.

    Raises ``UserError`` where the threat model does not allow the attack, the protocol shows nothing, or the run has
    not come so far. ``raysplit infer`` does the same from the command line.
    """
    if oracle is not None:
        check_oracle(oracle, attack)
    setup = Setup(round, samples, client, auxiliary, queries)
    inference = infer_trained(run.trained(), attack, adversary, setup)
    return inference if oracle is None else with_oracle(inference, oracle)
