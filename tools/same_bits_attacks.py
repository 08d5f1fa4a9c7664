"""Scenarios of ``same_bits.py``: attacks on updates, on data, on messages, by the main server, and several of them
together."""

from __future__ import annotations

from typing import Any

from same_bits_data import Blots
from same_bits_toys import Make, attacked, each, net, pick, toy, trimmed_mean

import raysplit as rs


def together(*attacks: Any) -> Any:
    return pick("CompositeAttack", "Together")(attacks)


def on_replicas(attack: Any) -> Any:
    return pick("OnServerReplicas", "AtReplicas")(attack)


CASES: dict[str, Make] = {}

UPDATES: dict[str, Make] = {
    "agr": lambda: rs.AgrTailored(),
    "agr-number": lambda: rs.AgrTailored(gamma=5.0),
    "agr-sign": lambda: rs.AgrTailored(perturbation="sign", certify=False),
    "agr-unit-ndss": lambda: rs.AgrTailored(perturbation="unit", gamma="ndss21"),
    "agr-stealth": lambda: rs.AgrTailored(gamma="stealth", reference="all_honest"),
    "agr-partial": lambda: rs.AgrTailored(knowledge="partial"),
    "agr-up": lambda: rs.AgrTailored(direction=1),
    "fang": lambda: rs.Fang(),
    "fang-partial": lambda: rs.Fang(knowledge="partial"),
    "gaussian": lambda: rs.GaussianNoise(0.1),
    "ipm": lambda: rs.InnerProductManipulation(0.5),
    "ipm-partial": lambda: rs.InnerProductManipulation(0.5, knowledge="partial"),
    "lie": lambda: rs.LittleIsEnough(),
    "lie-number": lambda: rs.LittleIsEnough(1.5, 1, "partial"),
    "mimic": lambda: rs.Mimic(),
    "mimic-one": lambda: rs.Mimic(target=3),
    "min-max": lambda: rs.MinMax(),
    "min-max-unit": lambda: rs.MinMax("unit"),
    "min-sum": lambda: rs.MinSum(),
    "min-sum-min": lambda: rs.MinSum("sign", bound="min"),
    "replacement": lambda: rs.ModelReplacement(),
    "replacement-lie": lambda: rs.ModelReplacement(rs.LittleIsEnough(1.0)),
    "optimal-ipm": lambda: rs.OptimalInnerProductManipulation(evaluations=4),
    "optimal-lie": lambda: rs.OptimalLittleIsEnough(evaluations=4),
    "sign-flip": lambda: rs.SignFlip(3.0),
    "neurotoxin": lambda: rs.Neurotoxin(keep=0.5),
    "neurotoxin-bound": lambda: rs.Neurotoxin(0.8, bound=0.5, attack=rs.ModelReplacement()),
    "single-shot": lambda: rs.Scheduled(rs.SignFlip(), start_round=2),
    "on-off": lambda: rs.Scheduled(rs.MinMax(), on=1, off=1),
}
CASES |= each("attack", UPDATES, lambda attack: attacked(rs.SplitFedV1(), attack, rs.TrimmedMean()))
CASES |= {
    "attack-mean-lie": lambda: attacked(rs.FedAvg(), rs.LittleIsEnough(1.5)),
    "attack-mean-agr": lambda: attacked(rs.FedAvg(), rs.AgrTailored(max_gamma=3.0)),
    "attack-krum-agr": lambda: attacked(rs.FedAvg(), rs.AgrTailored(), rs.Krum()),
    "attack-multi-krum-agr": lambda: attacked(rs.FedAvg(), rs.AgrTailored(), rs.MultiKrum()),
    "attack-multi-krum-ndss": lambda: attacked(
        rs.FedAvg(), rs.AgrTailored(gamma="ndss21", search_start=3.0), rs.MultiKrum()
    ),
    "attack-bulyan-agr": lambda: attacked(rs.FedAvg(), rs.AgrTailored(), rs.Bulyan()),
    "attack-median-agr": lambda: attacked(rs.SplitFedV2(), rs.AgrTailored(), rs.Median()),
    "attack-optimal-krum": lambda: attacked(rs.FedAvg(), rs.OptimalLittleIsEnough(evaluations=4), rs.MultiKrum()),
    "attack-fedopt": lambda: attacked(
        rs.FedAvg(), rs.MinMax(), rs.Median(), training__aggregate=rs.FedOpt(rs.Adam(), 0.01)
    ),
    "attack-buffered": lambda: attacked(rs.BufferedSplitFed(6), rs.SignFlip(), trimmed_mean(1)),
    "attack-async": lambda: attacked(rs.AsyncSplitFed(0.3), rs.SignFlip(), rs.Median(), training__rounds=4),
    "attack-cycle": lambda: attacked(rs.CycleSfl(), rs.SignFlip(), rs.Median()),
    "attack-norms": lambda: attacked(
        rs.SplitFedV1(), rs.MinMax(), rs.Median(), model=net(batch_norm=True), training__precision="float64"
    ),
    "attack-devices": lambda: attacked(
        rs.SplitFedV1(),
        rs.SignFlip(),
        rs.Median(),
        devices=rs.Devices(clients=rs.LogNormalDevices(rs.PHONE, 0.8, 0.8), stragglers=rs.Drop(0.2)),
    ),
    "replicas-flip": lambda: attacked(rs.SplitFedV1(), on_replicas(rs.SignFlip()), server_defense=rs.Median()),
    "replicas-both": lambda: attacked(
        rs.SplitFedV1(), together(rs.SignFlip(), on_replicas(rs.AgrTailored())), rs.Median(), server_defense=rs.Median()
    ),
    "replicas-v3": lambda: attacked(rs.SplitFedV3(), on_replicas(rs.MinSum()), server_defense=rs.TrimmedMean()),
    "replicas-late": lambda: attacked(
        rs.SplitFedV1(), rs.Scheduled(on_replicas(rs.LittleIsEnough(1.0)), start_round=2), server_defense=rs.Median()
    ),
}

DATA: dict[str, Make] = {
    "label-flip": lambda: rs.LabelFlip(),
    "label-flip-random": lambda: rs.LabelFlip("random", 0.5),
    "targeted": lambda: rs.TargetedLabelFlip(source=1, target=3),
    "farthest": lambda: rs.FarthestLabelFlip(0.8),
    "pixel": lambda: rs.PixelBackdoor(target=0, trigger=rs.Patch(2, 2)),
    "pixel-source": lambda: rs.PixelBackdoor(target=0, trigger=rs.Patch(3, 2, values=(200.0,)), share=1.0, source=2),
    "distributed": lambda: rs.DistributedBackdoor(target=0),
    "edge-case": lambda: rs.EdgeCaseBackdoor(rs.partitioned(Blots(5), rs.Iid(), 2), target=2, share=0.5, tested=4),
    "semantic-dark": lambda: rs.SemanticBackdoor(rs.Brightness(0.0, 0.32), target=4),
    "semantic-owned": lambda: rs.SemanticBackdoor(rs.OwnedBy((1, 4, 7)), target=4, share=0.5),
    "semantic-listed": lambda: rs.SemanticBackdoor(
        rs.ListedSamples(tuple((k, 0) for k in range(12)), tuple((k, 1) for k in range(12))), target=2
    ),
}


def _poisoned(protocol: Any, attack: Any, rule: Any = None, **changes: Any) -> Any:
    """A third of twelve clients are malicious; all are tested."""
    cohort = rs.Cohort(12, 0.34, "cohort")
    return attacked(protocol, attack, rule, cohort=cohort, evaluation__clients=None, evaluation__every=1, **changes)


CASES |= each("poison", DATA, lambda attack: _poisoned(rs.FedAvg(), attack))
CASES |= {
    "poison-farthest-split": lambda: _poisoned(rs.SplitFedV2(), rs.FarthestLabelFlip()),
    "poison-farthest-buffered": lambda: _poisoned(rs.BufferedSplitFed(6), rs.FarthestLabelFlip()),
    "poison-pixel-v1": lambda: _poisoned(rs.SplitFedV1(), DATA["pixel"]()),
    "poison-pixel-sl": lambda: _poisoned(rs.SplitLearning(), DATA["pixel"]()),
    "poison-pixel-v3": lambda: _poisoned(rs.SplitFedV3(), DATA["pixel"]()),
    "poison-pixel-centralized": lambda: _poisoned(rs.Centralized(), DATA["pixel"]()),
    "poison-pixel-async": lambda: _poisoned(rs.AsyncSplitFed(0.3), DATA["pixel"]()),
    "poison-scheduled": lambda: _poisoned(rs.FedAvg(), rs.Scheduled(rs.LabelFlip(), on=1, off=1)),
    "poison-replaced": lambda: _poisoned(rs.FedAvg(), together(DATA["pixel"](), rs.ModelReplacement())),
    "poison-neurotoxin": lambda: _poisoned(
        rs.FedAvg(), together(DATA["pixel"](), rs.Neurotoxin(0.7)), rs.NormClipping()
    ),
    "poison-success-of": lambda: _poisoned(rs.FedAvg(), rs.LabelFlip(), evaluation__success_of=DATA["pixel"]()),
}

MESSAGES: dict[str, Make] = {
    "ascent": lambda: rs.SmashedAscent(),
    "ascent-sign": lambda: rs.SmashedAscent(0.5, "sign"),
    "backdoor": lambda: rs.SmashedBackdoor(target=1),
    "labels": lambda: rs.WireLabelFlip(),
    "labels-next": lambda: rs.WireLabelFlip("next", 0.5),
    "labels-random": lambda: rs.WireLabelFlip("random"),
    "labels-one": lambda: rs.WireLabelFlip(2),
    "misalignment": lambda: rs.Misalignment(),
    "noise": lambda: rs.SmashedNoise(),
    "replacement": lambda: rs.FeatureReplacement(0.8),
    "tailored": lambda: rs.SmashedTailored(),
    "tailored-min-max": lambda: rs.SmashedTailored("min_max", "unit", 1, True),
    "server-flip": lambda: rs.ServerTampering(),
    "server-noise": lambda: rs.ServerTampering("noise", 0.5, victims=(1, 2)),
    "server-scale": lambda: rs.ServerTampering("scale", 2.0, start_round=2),
    "server-zero": lambda: rs.ServerTampering("zero"),
    "server-steering": lambda: rs.ServerSteering(),
    "server-steering-zero": lambda: rs.ServerSteering("zero", 0.5, (0, 3)),
    "on-off": lambda: rs.Scheduled(rs.SmashedNoise(), on=1, off=1),
    "three": lambda: together(rs.SmashedAscent(), rs.SmashedBackdoor(), rs.ServerSteering(start_round=2)),
}
U_SHAPED: dict[str, Make] = {
    "gradients-flip": lambda: rs.FeatureGradientTampering(),
    "gradients-noise": lambda: together(rs.FeatureGradientTampering("noise"), rs.SmashedNoise()),
    "gradients-scale": lambda: rs.FeatureGradientTampering("scale", 3.0),
    "server-features": lambda: rs.ServerTampering("noise", channel="features"),
}
BOTH = MESSAGES["three"]


def _messages(protocol: Any, attack: Any, **changes: Any) -> Any:
    """A third of six clients are malicious."""
    return toy(protocol, cohort=rs.Cohort(6, 0.34, "cohort"), attack=attack, **changes)


CASES |= each("message", MESSAGES, lambda attack: _messages(rs.SplitFedV2(), attack))
CASES |= each("message-u", U_SHAPED, lambda attack: _messages(rs.SplitFedV2(u_shaped=True), attack))
CASES |= {
    "message-v1": lambda: _messages(rs.SplitFedV1(), BOTH()),
    "message-v3": lambda: _messages(rs.SplitFedV3(), BOTH()),
    "message-sl": lambda: _messages(rs.SplitLearning(), BOTH()),
    "message-sl-minibatch": lambda: _messages(rs.SplitLearning(schedule="minibatch"), BOTH()),
    "message-psl": lambda: _messages(rs.ParallelSl(), BOTH()),
    "message-cycle": lambda: _messages(rs.CycleSfl(), BOTH()),
    "message-sglr": lambda: _messages(rs.Sglr(), BOTH()),
    "message-buffered": lambda: _messages(rs.BufferedSplitFed(3), BOTH()),
    "message-async-server": lambda: _messages(rs.AsyncSplitFed(0.3), rs.ServerTampering(), training__rounds=4),
    "message-minibatch": lambda: _messages(rs.MiniBatchSfl(), BOTH()),
    "message-and-updates": lambda: _messages(
        rs.SplitFedV1(), together(rs.LabelFlip(), rs.SmashedNoise(), rs.SignFlip()), defense=rs.Median()
    ),
}
