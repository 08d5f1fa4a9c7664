"""SplitFed with DP-SGD on the client portion and a PixelDP noise layer (Thapa et al. 2022, eqs. 1 to 6; Figure 5), at the
paper's size and at one for two cores. Figures: docs/papers/thapa2022.md.

AlexNet on MNIST, SFLV1, five clients, five local epochs, 50 rounds; δ = 1e-5. The paper gives neither C′ nor how batches
are drawn. Rows of DP-SGD alone: without privacy; σ = 1.3 as eq. (3) prints it, with the server portion left open as the
paper has it, so that no ε is claimed; the same noise once a batch, as in Abadi et al.; and a sound guarantee, with Poisson
batches and the server portion clipped too, that stops at its budget.

Figure 5 is eq. (3)'s row ("none") and the same with Laplace noise after the first convolution, eqs. (4) and (5) with ε′ of
0.5, 1, 2 and 5 (``-pixeldp…``). The paper does not say in which norms its sensitivity is, how often noise is drawn for a
prediction, or of which pairs the maximum is: here norm 2 on both sides, once, and the pairs of a batch; so nothing is
guaranteed. ``-certified`` is a sound PixelDP layer without DP-SGD, of which ``raysplit certify`` tells the radii.
"""

from typing import Literal

from raysplit import (
    Adam,
    Cohort,
    Evaluation,
    Iid,
    PerExampleClipping,
    PixelDp,
    Scenario,
    SplitFedV1,
    Training,
    alexnet_imagenet,
    lenet,
    mnist,
    partitioned,
    subset,
)
from raysplit.contracts import ModelSpec

CLIENTS, NORM, SIGMA = 5, 1.0, 1.3
SHUFFLED, POISSON = Training(rounds=50, lr=0.0001, batch_size=1024, local_epochs=5, optimizer=Adam()), 1024 / 12_000


def as_the_paper_has_it(form: Literal["thapa2022", "abadi"]) -> PerExampleClipping:
    """The server portion open and clients weighing by their samples, so that no ε can be claimed."""
    return PerExampleClipping(NORM, SIGMA, form=form, server_portion="open", weights="samples", guarantee=False)


def as_printed(model: ModelSpec, convolution: str, epsilon: float) -> PixelDp:
    """Eqs. (4) and (5) after the first convolution."""
    return PixelDp(
        model,
        epsilon,
        after=convolution,
        mechanism="laplace",
        sensitivity="measured",
        bound=1.0,
        form="thapa2022",
        draws=1,
    )


full = Scenario(
    name="privacy-alexnet",
    population=partitioned(mnist(), Iid(), clients=CLIENTS),
    model=alexnet_imagenet((1, 28, 28), cut="layer2"),
    protocol=SplitFedV1(),
    cohort=Cohort(size=CLIENTS),
    training=SHUFFLED,
    evaluation=Evaluation(clients=None),
    pixels="centred",
)
small = full.replace(
    name="privacy-small",
    population=partitioned(subset(mnist(), 3000, 1000), Iid(), clients=CLIENTS),
    model=lenet((1, 28, 28), classes=10, cut="layer2"),
    **{"training.rounds": 10, "training.lr": 0.002, "training.batch_size": 64},
)


def rows(base: Scenario, rate: float, batch: int, convolution: str) -> list[Scenario]:
    """``rate``: of Poisson batches of ``batch`` samples, as expected; ``convolution``: the model's first."""
    poisson = base.replace(**{"training.batch_size": None, "training.poisson_rate": rate})
    return [
        base.replace(name=f"{base.name}-none"),
        base.replace(name=f"{base.name}-eq3", privacy=as_the_paper_has_it("thapa2022")),
        base.replace(name=f"{base.name}-abadi", privacy=as_the_paper_has_it("abadi")),
        *(
            poisson.replace(
                name=f"{base.name}-eps{budget:g}",
                privacy=PerExampleClipping(NORM, multiplier, expected_batch=batch, budget=budget),
            )
            for budget, multiplier in SOUND[base.name].items()
        ),
        *(
            base.replace(
                name=f"{base.name}-pixeldp{epsilon:g}",
                privacy=as_the_paper_has_it("thapa2022"),
                model=as_printed(base.model, convolution, epsilon),
            )
            for epsilon in (0.5, 1.0, 2.0, 5.0)
        ),
        base.replace(name=f"{base.name}-certified", model=PixelDp(base.model, 1.0, after=convolution, bound=0.2)),
    ]


# Multipliers with which the budget is used up in the last round, by raysplit.defenses.privacy.accountant.
SOUND = {
    "privacy-alexnet": {0.5: 50.8, 2.0: 14.3, 8.0: 4.4},
    "privacy-small": {0.5: 24.7, 2.0: 7.1, 8.0: 2.36},
}
scenarios = [*rows(full, POISSON, 1024, "conv1.1"), *rows(small, 64 / 600, 64, "conv1.0")]
