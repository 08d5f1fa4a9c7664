"""Scenarios of ``same_bits.py``: aggregation rules, rules on server replicas, detection, recorded updates, forks, runs
that are resumed."""

from __future__ import annotations

import functools
from typing import Any

import torch
from same_bits_data import contract, found
from same_bits_toys import Make, attacked, each, first_valid, net, pick, toy, trimmed_mean

import raysplit as rs


def actual() -> str:
    """The option by which a rule gets the true number of malicious clients."""
    return str(first_valid(lambda: vars(rs.TrimmedMean(f="actual"))["f"], lambda: "realised"))


def assumed() -> str:
    """The option by which a rule gets the number that the operator assumes."""
    return str(first_valid(lambda: vars(rs.TrimmedMean(f="assumed"))["f"], lambda: "declared"))


def late(rule: Any, start_round: int) -> Any:
    return pick("StartAtRound", "Deferred")(rule, start_round=start_round)


CASES: dict[str, Make] = {}

RULES: dict[str, Make] = {
    "mean": lambda: rs.Mean(),
    "trimmed": lambda: rs.TrimmedMean(),
    "trimmed-actual": lambda: trimmed_mean(actual()),
    "trimmed-assumed": lambda: trimmed_mean(assumed()),
    "trimmed-number": lambda: trimmed_mean(3),
    "median": lambda: rs.Median(),
    "median-midpoint": lambda: rs.Median(even="midpoint"),
    "around-median": lambda: rs.MeanAroundMedian(),
    "around-median-midpoint": lambda: rs.MeanAroundMedian(assumed(), even="midpoint"),
    "krum": lambda: rs.Krum(),
    "krum-byzfl": lambda: rs.Krum("n-f-1", assumed()),
    "multi-krum": lambda: rs.MultiKrum(),
    "multi-krum-five": lambda: rs.MultiKrum(5, "n-f-1", 2),
    "bulyan": lambda: rs.Bulyan(),
    "bulyan-midpoint": lambda: rs.Bulyan("n-f-1", actual(), "midpoint"),
    "geometric": lambda: rs.GeometricMedian(),
    "geometric-byzfl": lambda: rs.GeometricMedian(3, 0.1, "zero"),
    "geometric-mean": lambda: rs.GeometricMedian(3, start="mean"),
    "centred": lambda: rs.CentredClipping(),
    "centred-previous": lambda: rs.CentredClipping(0.5, 2, "previous"),
    "centred-zero": lambda: rs.CentredClipping(1.0, 1, "zero"),
    "norm": lambda: rs.NormClipping(),
    "norm-noise": lambda: rs.NormClipping(0.3, noise=0.01),
    "divide": lambda: rs.DivideAndConquer(),
    "divide-columns": lambda: rs.DivideAndConquer(columns=50, iterations=3, filter=1.5),
    "fltrust": lambda: rs.FLTrust(roots=(3,)),
    "fltrust-three": lambda: rs.FLTrust(roots=(1, 5, 8)),
    "fools-gold": lambda: rs.FoolsGold(),
    "fools-gold-half": lambda: rs.FoolsGold(confidence=0.5),
    "sign-guard": lambda: rs.SignGuard(),
    "sign-guard-all": lambda: rs.SignGuard(0.5, 2.0, 1.0),
    "flame": lambda: rs.FLAME(),
    "flame-models": lambda: rs.FLAME(0.01, "models"),
    "crfl": lambda: rs.CRFL(bound=20.0),
    "crfl-median": lambda: rs.CRFL(1.0, rs.Median(), growth=0.1, noise=0.0),
    "mixing": lambda: rs.Composed((rs.NearestNeighbourMixing(),), rs.TrimmedMean()),
    "bucketing": lambda: rs.Composed((rs.Bucketing(2),), rs.Median()),
    "arc": lambda: rs.Composed((rs.AdaptiveRobustClipping(),), rs.Mean()),
    "clipping": lambda: rs.Composed((rs.Clipping(),), rs.Mean()),
    "clipping-number": lambda: rs.Composed((rs.Clipping(0.4),), rs.Krum()),
    "arc-mixing": lambda: rs.Composed((rs.AdaptiveRobustClipping(), rs.NearestNeighbourMixing()), rs.TrimmedMean()),
    "arc-bucketing": lambda: rs.Composed((rs.AdaptiveRobustClipping(), rs.Bucketing(2)), rs.GeometricMedian()),
    "mixing-krum": lambda: rs.Composed((rs.NearestNeighbourMixing(),), rs.MultiKrum()),
    "clipped-fools-gold": lambda: rs.Composed((rs.Clipping(),), rs.FoolsGold()),
    "late": lambda: late(rs.Median(), 2),
    "late-fltrust": lambda: late(rs.FLTrust((3, 4)), 2),
    "late-fools-gold": lambda: late(rs.FoolsGold(), 2),
}
CASES |= each("rule", RULES, lambda rule: attacked(rs.FedAvg(), rs.SignFlip(start_round=2), rule))
CASES |= {
    "rule-fltrust-split": lambda: attacked(rs.SplitFedV2(), rs.LabelFlip(), rs.FLTrust((0, 2))),
    "rule-fltrust-v1": lambda: attacked(rs.SplitFedV1(), rs.MinMax(), rs.FLTrust((0,)), server_defense=rs.Median()),
    "rule-fools-gold-part": lambda: attacked(
        rs.SplitFedV2(), rs.MinMax(), rs.FoolsGold(), cohort=rs.Cohort(6, 0.34, "population"), training__rounds=4
    ),
    "rule-krum-norms": lambda: attacked(rs.SplitFedV1(), rs.SignFlip(), rs.Krum(), model=net(batch_norm=True)),
    "rule-trimmed-u": lambda: attacked(rs.SplitFedV2(u_shaped=True), rs.LittleIsEnough(1.0), rs.TrimmedMean()),
    "rule-flame-fedopt": lambda: attacked(
        rs.FedAvg(), rs.SignFlip(), rs.FLAME(angles="models"), training__aggregate=rs.FedOpt(rs.Sgd(0.9), 0.5)
    ),
    "rule-crfl-float64": lambda: attacked(rs.FedAvg(), rs.SignFlip(), rs.CRFL(1.0), training__precision="float64"),
    "rule-cycle": lambda: attacked(rs.CycleSfl(), rs.SignFlip(), rs.TrimmedMean()),
    "rule-async": lambda: toy(rs.AsyncSplitFed(0.3), 11, defense=rs.TrimmedMean(1), training__rounds=3),
    "rule-buffered": lambda: toy(
        rs.BufferedSplitFed(6, speeds=rs.Speeds(1.0)), 11, defense=rs.Median(), training__rounds=3
    ),
    "rule-clean": lambda: toy(rs.SplitFedV2(), 12, defense=rs.MultiKrum()),
}

SERVER_RULES = ("median", "krum", "centred-previous", "fools-gold", "flame", "mixing", "norm-noise", "crfl", "late")
CASES |= each(
    "server-rule",
    {name: RULES[name] for name in SERVER_RULES},
    lambda rule: attacked(rs.SplitFedV1(), rs.SmashedNoise(), rs.TrimmedMean(), server_defense=rule),
)
CASES |= {
    "server-rule-v3": lambda: attacked(rs.SplitFedV3(), rs.LabelFlip(), server_defense=rs.Median()),
    "server-rule-fedopt": lambda: attacked(
        rs.SplitFedV1(), rs.SignFlip(), server_defense=rs.Median(), training__aggregate=rs.FedOpt(rs.Adam(), 0.01)
    ),
}


def _watched(protocol: Any, detection: Any, attack: Any = None, **changes: Any) -> Any:
    cohort = rs.Cohort(6, 0.4, "cohort")
    return toy(protocol, 9, cohort=cohort, training__rounds=3, detection=detection, attack=attack, **changes)


def _screens() -> Any:
    return (rs.LabelScreen(1.0), rs.SmashedScreen(2.0), rs.GradientScreen(2.0))


def _strict() -> Any:
    return rs.Detection((rs.SmashedScreen(2.0), rs.GradientScreen(2.0)), rs.SafeSplit(margin=1.0), "zeros")


CASES |= {
    "detection-strict": lambda: _watched(rs.SplitFedV2("client_major"), _strict()),
    "detection-sl": lambda: _watched(rs.SplitLearning(), _strict(), rs.SmashedNoise(2.0)),
    "detection-rollback": lambda: _watched(
        rs.SplitLearning(),
        rs.Detection((), rs.SafeSplit(4, 0.3, 1.0, 3)),
        rs.PixelBackdoor(target=0, trigger=rs.Patch(2, 2)),
    ),
    "detection-screens": lambda: _watched(rs.SplitFedV2(), rs.Detection(_screens()), rs.SmashedAscent()),
    "detection-labels": lambda: _watched(
        rs.SplitFedV2(), rs.Detection((rs.LabelScreen(0.5, 20, 2),)), rs.WireLabelFlip(2)
    ),
    "detection-psl": lambda: _watched(rs.ParallelSl(), rs.Detection(_screens())),
    "detection-u": lambda: _watched(
        rs.SplitFedV2(u_shaped=True), rs.Detection((rs.SmashedScreen(1.0),), answer="zeros")
    ),
    "detection-adam": lambda: _watched(
        rs.SplitFedV2("client_major"), _strict(), rs.SmashedNoise(), training__optimizer=rs.Adam(), defense=rs.Median()
    ),
    "updates-attacked": lambda: attacked(rs.FedAvg(), rs.MinMax(), rs.Median(), record_updates_every=1),
    "updates-clean": lambda: toy(rs.SplitFedV2(), record_updates_every=1),
    "updates-mean": lambda: attacked(rs.SplitFedV2(), rs.SignFlip(), record_updates_every=2),
    "updates-replicas": lambda: attacked(
        rs.SplitFedV1(), rs.SignFlip(start_round=2), rs.Krum(), server_defense=rs.Median(), record_updates_every=1
    ),
    "updates-v3": lambda: toy(rs.SplitFedV3(), record_updates_every=1),
    "updates-roots": lambda: attacked(rs.FedAvg(), rs.SignFlip(), rs.FLTrust((3,)), record_updates_every=1),
    "updates-float64": lambda: toy(rs.FedAvg(), training__precision="float64", record_updates_every=2),
}


def _forking(protocol: Any, share: float, attack: Any = None, rule: Any = None, **changes: Any) -> Any:
    cohort = rs.Cohort(6, share, "cohort", dropouts=rs.Dropouts(0.2))
    adam = {"training__aggregate": rs.FedOpt(rs.Adam(), lr=0.01), "training__server_optimizer": rs.Adam()}
    rounds = {"training__rounds": 4, "training__server_lr": 0.01}
    return toy(protocol, 9, cohort=cohort, attack=attack, defense=rule or rs.Mean(), **adam, **rounds, **changes)


def _forks(group: str, protocol: Make) -> dict[str, Make]:
    """Runs of which each later one takes over the longest opening that an earlier one has kept."""
    flip = functools.partial(rs.SignFlip, start_round=3)
    composite = pick("CompositeAttack", "Together")
    scenarios: dict[str, Make] = {
        "clean": lambda: _forking(protocol(), 0.34),
        "flip": lambda: _forking(protocol(), 0.34, flip()),
        "median": lambda: _forking(protocol(), 0.34, rule=late(rs.Median(), 3)),
        "median-flip": lambda: _forking(protocol(), 0.34, flip(), late(rs.Median(), 3)),
        "median-later": lambda: _forking(protocol(), 0.34, rs.SignFlip(start_round=4), late(rs.Median(), 3)),
        "more": lambda: _forking(protocol(), 0.5, flip()),
        "composite": lambda: _forking(
            protocol(), 0.34, composite((rs.LabelFlip(start_round=3), rs.SignFlip(start_round=4)))
        ),
    }
    return {f"fork-{group}-{name}": make for name, make in scenarios.items()}


CASES |= _forks("fl", lambda: rs.FedAvg()) | _forks("v2", lambda: rs.SplitFedV2())
CASES |= {
    "fork-recorded-clean": lambda: _forking(rs.SplitFedV1(), 0.34, record_updates_every=1),
    "fork-recorded-flip": lambda: _forking(rs.SplitFedV1(), 0.34, rs.SignFlip(start_round=3), record_updates_every=1),
    "fork-replicas-clean": lambda: _forking(rs.SplitFedV1(), 0.34),
    "fork-replicas-late": lambda: _forking(
        rs.SplitFedV1(),
        0.34,
        pick("OnServerReplicas", "AtReplicas")(rs.SignFlip(start_round=3)),
        server_defense=late(rs.Median(), 3),
    ),
}


def _resumed(protocol: Any, clients: int = 9, **changes: Any) -> Any:
    """Four rounds with a checkpoint after each, of which the last two are taken back and played again."""
    return toy(protocol, clients, **{"training__rounds": 4, "checkpoint_every": 1, "cohort": rs.Cohort(5), **changes})


ADAM = {"training__optimizer": rs.Adam(), "training__lr": 0.01}
CASES |= {
    "resume-fedavg": lambda: _resumed(rs.FedAvg(), defense=rs.FoolsGold()),
    "resume-sl-travels": lambda: _resumed(rs.SplitLearning(), training__client_state="travels", **ADAM),
    "resume-v1": lambda: _resumed(
        rs.SplitFedV1(),
        training__aggregate=rs.FedOpt(rs.Adam(), 0.01),
        server_defense=rs.CentredClipping(0.5, 2, "previous"),
    ),
    "resume-v2-u": lambda: _resumed(
        rs.SplitFedV2(u_shaped=True),
        model=net("conv1", "fc1", batch_norm=True),
        training__client_state="per_client",
        **ADAM,
    ),
    "resume-v3": lambda: _resumed(rs.SplitFedV3(), **ADAM),
    "resume-psl": lambda: _resumed(rs.ParallelSl(), model=net(dropout=0.3), **ADAM),
    "resume-async": lambda: _resumed(rs.AsyncSplitFed(0.3)),
    "resume-buffered": lambda: _resumed(rs.BufferedSplitFed(3)),
    "resume-detection": lambda: _resumed(rs.SplitFedV2("client_major"), detection=_strict()),
    "resume-neurotoxin": lambda: _resumed(
        rs.FedAvg(), attack=rs.Neurotoxin(0.5), cohort=rs.Cohort(6, 0.34, "cohort"), record_updates_every=1
    ),
}


@rs.part
class NormBound(contract("AggregationRule")):  # type: ignore[misc]
    """A rule of a user's own (docs/how-to/defense.md), which remembers and records."""

    factor: float = 0.5

    @property
    def columnwise(self) -> bool:
        return False

    def aggregate(self, updates: torch.Tensor, weights: torch.Tensor, context: Any) -> Any:
        norms = torch.linalg.vector_norm(updates, dim=1)
        bound = self.factor * norms.median() + context.memory.get("bound", torch.zeros(()))
        scale = (bound / norms.clamp_min(1e-12)).clamp(max=1)
        return found("Aggregate")((weights * scale) @ updates, {"broken": 0.0}, memory={"bound": bound.reshape(()) / 2})


CASES |= {"own-rule": lambda: attacked(rs.SplitFedV2(), rs.SignFlip(), NormBound())}
