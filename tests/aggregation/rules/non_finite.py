"""What every rule does with updates of NaN, of infinity and of huge numbers: measured, and written to
docs/non-finite.md."""

from __future__ import annotations

from functools import cache

import torch

from raysplit import (
    CRFL,
    FLAME,
    AdaptiveRobustClipping,
    Bucketing,
    Bulyan,
    CentredClipping,
    Clipping,
    Composed,
    DivideAndConquer,
    DpFedAvg,
    FLTrust,
    FoolsGold,
    GeometricMedian,
    Krum,
    Mean,
    MeanAroundMedian,
    Median,
    MultiKrum,
    NearestNeighbourMixing,
    NormClipping,
    SecureAggregation,
    SignGuard,
    StartAtRound,
    TrimmedMean,
)
from raysplit.aggregation.rule import AggregationRule
from raysplit.threads import one_thread

COHORTS = ((11, 2), (20, 4))
"""(n, f): from 18 updates on distances are measured from another point (``Geometry``)."""
D = 40


@cache
def rules(f: int) -> tuple[AggregationRule, ...]:
    """Every rule and step of the tree, set up against ``f`` malicious clients."""
    return (
        Mean(),
        Median(),
        Median(even="midpoint"),
        TrimmedMean(f=f),
        MeanAroundMedian(f=f),
        MeanAroundMedian(f=f, even="midpoint"),
        Krum(f=f),
        MultiKrum(f=f),
        Bulyan(f=f),
        GeometricMedian(),
        GeometricMedian(start="mean"),
        CentredClipping(),
        CentredClipping(start="zero"),
        NormClipping(),
        SignGuard(),
        DivideAndConquer(f=f),
        FLAME(),
        FLTrust(),
        FoolsGold(),
        CRFL(bound=10.0),
        CRFL(bound=10.0, rule=Median()),
        DpFedAvg(10.0, 0.0, expected_cohort=10, guarantee=False),
        SecureAggregation(),
        StartAtRound(Median(), start_round=1),
        Composed((Clipping(),), Mean()),
        Composed((AdaptiveRobustClipping(f=f),), Mean()),
        Composed((AdaptiveRobustClipping(f=f),), Median()),
        Composed((NearestNeighbourMixing(f=f),), Mean()),
        Composed((NearestNeighbourMixing(f=f),), Median()),
        Composed((NearestNeighbourMixing(f=f),), Krum(f=f)),
        Composed((Bucketing(),), Mean()),
        Composed((Bucketing(),), Median()),
    )


def benign(n: int) -> torch.Tensor:
    """Updates [n, D] that agree up to a tenth of their length or so."""
    return 1 + 0.1 * torch.randn(n, D, generator=torch.Generator().manual_seed(n))


def poisoned(kind: str, f: int, honest: torch.Tensor) -> list[torch.Tensor]:
    """Malicious rows [f, D] of a kind, in several ways: all of the row or one number of it, of either sign or of
    both."""
    value = {"NaN": torch.nan, "infinity": torch.inf}.get(kind) or float(kind)
    ones, signs = torch.ones(f, D), torch.tensor([1.0, -1.0]).repeat(f)[:f, None]
    one_number = honest[:f].clone()
    one_number[:, 7] = value
    return [ones * value, -ones * value, ones * signs * value, one_number]


KINDS = ("NaN", "infinity", "1e18", "1e30", "3e38")


@cache
@one_thread()
def found(rule_number: int, kind: str) -> str:
    """The worst that came of a kind of rows: ``NaN``, ``huge``, ``bounded`` or ``kept out``."""
    worst = 0.0
    for n, f in COHORTS:
        honest = benign(n - f)
        mean = honest.mean(0)
        spread = float((honest - mean).norm(dim=1).max())
        for rows in poisoned(kind, f, honest):
            updates = torch.cat([honest[:3], rows, honest[3:]])
            update = rules(f)[rule_number](updates, reference=mean, portion=torch.zeros(D))
            bias = float((update.double() - mean.double()).norm()) / spread
            worst = max(worst, bias) if bias == bias else torch.inf
    return "NaN" if worst == torch.inf else "huge" if worst > 1000 else "bounded" if worst > 1 else "kept out"


def page() -> str:
    """docs/non-finite.md."""
    lines = [f"| rule | {' | '.join(KINDS)} |", "|---" * (len(KINDS) + 1) + "|"]
    for number, rule in enumerate(rules(2)):
        lines.append(f"| `{rule!r}` | {' | '.join(found(number, kind) for kind in KINDS)} |")
    return "\n".join([HEAD, *lines, "", FOOT])


HEAD = """# Updates that are not finite, or huge

A malicious client may send what it likes, so also NaN, infinity, and numbers near the end of float32. Written by
`tests/aggregation/rules/test_non_finite.py`, which gives every rule such rows from f = 2 of 11 and 4 of 20 clients, of
either sign and of both, whole rows and single numbers, and fails where this page is not what it found. The word is
for the worst of them:

- **kept out**: the aggregate is no farther from the mean of the benign updates than the farthest benign update is;
- **bounded**: farther, but by what the rule lets anybody do (a clipped length, rows counted as zero);
- **huge**: more than a thousand times as far: the adversary moves the model anywhere;
- **NaN**: the model is no number any more, and the run ends as diverged.

A row that is not finite, or so long that its squared length in float32 is not (near 1e19), is infinitely far from all
others for the rules that go by distances; in the order of one coordinate infinity stands at its end and NaN above all
numbers; for rules that clip, such a row is as good as zero. How many updates of a round were not finite is in
`non_finite` of `aggregation.arrow`, their norms in `clients.arrow`.
"""
FOOT = """`Mean` withstands nothing, and neither does it after `NearestNeighbourMixing` or `Bucketing`, which are made for a
robust rule behind them: the mixture of a row that is not finite is none either. `FoolsGold` goes by angles alone and
bounds no length, so that clients who send opposite rows are no sybils to it. `GeometricMedian(start="mean")` begins
where huge rows have moved the mean to, and takes off a share of that in each of its few steps.

To write this page anew: `RAYSPLIT_WRITE_NON_FINITE=1 python -m pytest tests/aggregation/rules/test_non_finite.py`.
"""
