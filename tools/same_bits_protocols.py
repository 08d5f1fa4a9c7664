"""Scenarios of ``same_bits.py``: protocols, how parties train, who takes part, on which data, on which devices."""

from __future__ import annotations

from typing import Any, ClassVar

from same_bits_data import Chains, contract
from same_bits_toys import Make, attacked, net, pick, toy, trimmed_mean

import raysplit as rs

CASES: dict[str, Make] = {}

PROTOCOLS: dict[str, Make] = {
    "centralized": lambda: rs.Centralized(),
    "fedavg": lambda: rs.FedAvg(),
    "sl": lambda: rs.SplitLearning(),
    "sl-minibatch": lambda: rs.SplitLearning(schedule="minibatch"),
    "sl-u": lambda: rs.SplitLearning(u_shaped=True),
    "v1": lambda: rs.SplitFedV1(),
    "v1-gradients": lambda: rs.SplitFedV1(reading="gradients"),
    "v1-accumulated": lambda: rs.SplitFedV1(reading="accumulated"),
    "v1-u": lambda: rs.SplitFedV1(u_shaped=True),
    "v2": lambda: rs.SplitFedV2(),
    "v2-major": lambda: rs.SplitFedV2(order="client_major"),
    "v2-u": lambda: rs.SplitFedV2(u_shaped=True),
    "v3": lambda: rs.SplitFedV3(),
    "psl": lambda: rs.ParallelSl(),
    "minibatch-sfl": lambda: rs.MiniBatchSfl(),
    "sglr": lambda: rs.Sglr(),
    "cycle-sfl": lambda: rs.CycleSfl(),
    "cycle-psl": lambda: rs.CyclePsl(),
    "async-sl": lambda: rs.AsyncSplitLearning(),
    "async-sfl": lambda: rs.AsyncSplitFed(),
    "buffered": lambda: rs.BufferedSplitFed(buffer=2),
    "vertical": lambda: rs.VerticalSplit(parties=2),
    "extended": lambda: rs.ExtendedSplit(),
    "multi-task": lambda: rs.MultiTaskSplit((rs.Task("class"), rs.Task("class again", weight=0.5))),
    "v1-thapa": lambda: rs.SplitFedV1(as_published="thapa2022"),
    "v2-slperf": lambda: rs.SplitFedV2(order="client_major", as_published="slperf"),
}
"""The rows of docs/support.md."""

VARIANTS: dict[str, Make] = {
    "sl-peers-fixed": lambda: rs.SplitLearning("peer_to_peer", "fixed"),
    "v1-sum": lambda: rs.SplitFedV1(reading="accumulated", accumulate="sum"),
    "v1-u-gradients": lambda: rs.SplitFedV1(True, "gradients"),
    "v2-u-major": lambda: rs.SplitFedV2("client_major", True),
    "v3-u": lambda: rs.SplitFedV3(u_shaped=True),
    "psl-major": lambda: rs.ParallelSl("client_major"),
    "psl-u": lambda: rs.ParallelSl(u_shaped=True),
    "minibatch-sfl-u": lambda: rs.MiniBatchSfl(u_shaped=True),
    "sglr-together": lambda: rs.Sglr(active_share=0.3, lr_exponent=0.2, synchronise=True),
    "cycle-sfl-epochs": lambda: rs.CycleSfl(server_epochs=2, server_batch=5),
    "cycle-psl-epochs": lambda: rs.CyclePsl(server_epochs=2, server_batch=5),
    "async-sl-peers": lambda: rs.AsyncSplitLearning(0.3, "peer_to_peer", "fixed"),
    "async-sfl-major": lambda: rs.AsyncSplitFed(0.3, "client_major"),
    "buffered-alike": lambda: rs.BufferedSplitFed(3, staleness=1.0, speeds=rs.Speeds(0.0)),
    "vertical-height": lambda: rs.VerticalSplit(parties=2, along="height"),
    "multi-task-labels": lambda: rs.MultiTaskSplit((rs.Task("a"), rs.Task("b", labels=(0, 0, 1, 1, 1), weight=0.2))),
}


def _protocol(make: Make) -> Make:
    return lambda: toy(
        make(), model=net("conv1", "fc1"), training__rounds=3, evaluation__every=3, evaluation__clients=None
    )


def _part_of(make: Make) -> Make:
    """Some clients of nine in each round, so that states, portions and slots outlast a round in which their owner does
    not take part."""
    return lambda: toy(make(), 9, cohort=rs.Cohort(5), training__rounds=4, model=net(batch_norm=True))


CASES |= {f"protocol-{name}": _protocol(make) for name, make in {**PROTOCOLS, **VARIANTS}.items()}
CASES |= {
    f"part-{name}": _part_of(PROTOCOLS[name])
    for name in ("fedavg", "sl", "v1", "v2", "v3", "psl", "sglr", "cycle-psl", "async-sfl", "buffered", "minibatch-sfl")
}

PUBLISHED: dict[str, Make] = {
    "fl-thapa": lambda: rs.FedAvg(as_published="thapa2022"),
    "sl-thapa": lambda: rs.SplitLearning(as_published="thapa2022"),
    "v1-thapa": lambda: rs.SplitFedV1(as_published="thapa2022"),
    "v2-thapa": lambda: rs.SplitFedV2("client_major", as_published="thapa2022"),
    "sl-slperf": lambda: rs.SplitLearning(as_published="slperf", ring="fixed"),
    "v2-slperf": lambda: rs.SplitFedV2("client_major", as_published="slperf"),
}


def _published(make: Make, cohort: int) -> Make:
    adam = {"training__optimizer": rs.Adam(eps=1e-4), "training__lr": 0.01, "training__rounds": 4}
    return lambda: toy(make(), model=net(batch_norm=True), cohort=rs.Cohort(cohort), **adam)


CASES |= {f"published-{name}": _published(make, 6) for name, make in PUBLISHED.items()}
CASES |= {f"published-part-{name}": _published(make, 4) for name, make in PUBLISHED.items()}

ADAM = {"training__optimizer": rs.Adam(), "training__lr": 0.01}
CASES |= {
    "state-fresh": lambda: toy(rs.SplitFedV2(), training__client_state="fresh", training__rounds=3, **ADAM),
    "state-per-client": lambda: toy(
        rs.SplitFedV2(), 8, cohort=rs.Cohort(4), training__client_state="per_client", training__rounds=4, **ADAM
    ),
    "state-travels": lambda: toy(rs.SplitLearning(), training__client_state="travels", training__rounds=3, **ADAM),
    "state-server-fresh": lambda: toy(rs.SplitFedV2(), training__server_state="fresh", training__rounds=3, **ADAM),
    "state-server-persistent": lambda: toy(
        rs.SplitLearning(), training__server_state="persistent", training__rounds=3, **ADAM
    ),
    "state-each-batch": lambda: toy(rs.SplitFedV2(), training__server_state="each_batch", **ADAM),
    "state-fedavg-per-client": lambda: toy(rs.FedAvg(), training__client_state="per_client", **ADAM),
    "train-server-adam": lambda: toy(rs.SplitFedV2(), training__server_optimizer=rs.Adam(), training__server_lr=0.01),
    "train-fedopt-adam": lambda: toy(
        rs.SplitFedV2(), training__aggregate=rs.FedOpt(rs.Adam(), lr=0.01), training__rounds=3
    ),
    "train-fedopt-v1": lambda: toy(
        rs.SplitFedV1(), training__aggregate=rs.FedOpt(rs.Adam(), lr=0.01), training__rounds=3
    ),
    "train-fedopt-momentum": lambda: toy(
        rs.FedAvg(), training__aggregate=rs.FedOpt(rs.Sgd(momentum=0.9), lr=0.7), training__rounds=3
    ),
    "train-fedopt-v3": lambda: toy(rs.SplitFedV3(), training__aggregate=rs.FedOpt(rs.Adam(), lr=0.01)),
    "train-steps": lambda: toy(rs.SplitFedV2(), training__schedule=rs.StepDecay(1, 0.5), training__rounds=3),
    "train-cosine": lambda: toy(rs.SplitFedV1(), training__schedule=rs.CosineDecay(0.1), training__rounds=3),
    "train-float64": lambda: toy(rs.SplitFedV1(), training__precision="float64"),
    "train-nesterov": lambda: toy(rs.FedAvg(), training__optimizer=rs.Sgd(0.9, 1e-3, True)),
    "train-adam-decay": lambda: toy(rs.SplitFedV2(), training__optimizer=rs.Adam(weight_decay=0.01)),
    "train-epochs": lambda: toy(rs.SplitFedV2(), training__local_epochs=3),
    "train-epochs-major": lambda: toy(rs.SplitFedV2("client_major"), training__local_epochs=2),
    "train-whole-set": lambda: toy(rs.SplitFedV1(), training__batch_size=None),
    "train-diverges": lambda: toy(rs.FedAvg(), training__lr=1e30, training__rounds=4),
    "train-centred": lambda: toy(rs.SplitFedV2(), pixels="centred"),
    "train-inverted": lambda: toy(rs.FedAvg(), pixels="inverted"),
    "train-groups": lambda: toy(rs.SplitFedV1(), groups=2),
    "train-one-client": lambda: toy(rs.SplitFedV2(), 1),
    "train-many": lambda: toy(rs.FedAvg(), 20, training__rounds=1),
    "norm-fedavg": lambda: toy(rs.FedAvg(), model=net("conv1", batch_norm=True)),
    "norm-v1": lambda: toy(rs.SplitFedV1(), model=net("conv1", batch_norm=True)),
    "norm-v2-u": lambda: toy(rs.SplitFedV2(u_shaped=True), model=net("conv1", "fc1", batch_norm=True)),
    "norm-sl": lambda: toy(rs.SplitLearning(), model=net("conv1", batch_norm=True)),
    "norm-fedopt": lambda: toy(
        rs.SplitFedV1(), model=net("conv1", batch_norm=True), training__aggregate=rs.FedOpt(rs.Adam(), lr=0.01)
    ),
    "norm-minibatch-sfl": lambda: toy(rs.MiniBatchSfl(), model=net("conv1", batch_norm=True)),
    "dropout-fedavg": lambda: toy(rs.FedAvg(), model=net(dropout=0.4)),
    "dropout-v1": lambda: toy(rs.SplitFedV1(), model=net(dropout=0.4)),
    "dropout-v2-u": lambda: toy(rs.SplitFedV2(u_shaped=True), model=net("conv2", "fc2", dropout=0.4)),
    "dropout-cycle": lambda: toy(rs.CycleSfl(), model=net(dropout=0.4)),
    "dropout-sglr": lambda: toy(rs.Sglr(), model=net(dropout=0.4)),
    "cut-late": lambda: toy(rs.SplitFedV1(), model=net("fc1", None)),
    "cut-early": lambda: toy(rs.SplitFedV2(), model=net("conv1", None)),
}


def _drawn(draw: Any, protocol: Any = None, **cohort: Any) -> Any:
    return toy(protocol or rs.FedAvg(), 12, cohort=rs.Cohort(5, draw=draw, **cohort), training__rounds=4)


CASES |= {
    "cohort-uniform": lambda: _drawn(rs.Uniform()),
    "cohort-weighted": lambda: _drawn(rs.Weighted()),
    "cohort-ring": lambda: _drawn(rs.FixedRing(), rs.SplitLearning()),
    "cohort-round-robin": lambda: _drawn(rs.RoundRobin()),
    "cohort-poisson": lambda: _drawn(rs.Poisson(), rs.SplitFedV2()),
    "cohort-day-night": lambda: _drawn(rs.Uniform(), available=rs.DayNight(period=4)),
    "cohort-dropouts": lambda: _drawn(rs.Uniform(), rs.SplitFedV2(), dropouts=rs.Dropouts(0.4)),
    "cohort-dropouts-after": lambda: _drawn(rs.Uniform(), rs.SplitFedV1(), dropouts=rs.Dropouts(0.4, "after")),
    "cohort-dropouts-sl": lambda: _drawn(rs.Uniform(), rs.SplitLearning(), dropouts=rs.Dropouts(0.4)),
    "cohort-dropouts-v3": lambda: _drawn(rs.Uniform(), rs.SplitFedV3(), dropouts=rs.Dropouts(0.4)),
    "cohort-passed-over": lambda: _drawn(rs.Uniform(), dropouts=rs.Dropouts(0.5), at_least=3),
    "cohort-population": lambda: attacked(
        rs.FedAvg(), rs.SignFlip(), trimmed_mean(1), cohort=rs.Cohort(6, 0.3, "population")
    ),
    "cohort-attacked-dropouts": lambda: attacked(
        rs.SplitFedV2(), rs.SignFlip(), rs.Median(), cohort=rs.Cohort(9, 0.4, "cohort", dropouts=rs.Dropouts(0.3))
    ),
    "evaluate-all": lambda: toy(rs.SplitFedV3(), evaluation__every=1, evaluation__clients=None),
    "evaluate-success": lambda: toy(
        rs.SplitFedV2(), evaluation__success_of=rs.PixelBackdoor(target=0, trigger=rs.Patch(2, 2))
    ),
    "evaluate-success-smashed": lambda: toy(rs.SplitFedV2(), evaluation__success_of=rs.SmashedBackdoor(target=1)),
}

SPREAD = rs.LogNormalDevices(rs.PHONE, 0.8, 0.8)
MIXED = rs.DeviceClasses((rs.DeviceClass(0.5, rs.PHONE), rs.DeviceClass(0.5, rs.SENSOR)))


def _timed(make: Make) -> Make:
    return lambda: toy(make(), devices=rs.Devices(clients=SPREAD))


def _late(policy: Make, protocol: Make) -> Make:
    devices = rs.Devices(clients=SPREAD, stragglers=policy())
    return lambda: toy(protocol(), 9, cohort=rs.Cohort(6), training__rounds=3, devices=devices)


CASES |= {
    f"time-{name}": _timed({**PROTOCOLS, **VARIANTS}[name])
    for name in ("fedavg", "sl", "sl-peers-fixed", "v1", "v1-u", "v2", "v2-major", "v2-u", "v3", "psl", "centralized")
}
CASES |= {
    "time-classes": lambda: toy(rs.SplitFedV1(), devices=rs.Devices(clients=MIXED, server=rs.LAPTOP)),
    "time-one-at-once": lambda: toy(rs.SplitFedV1(), devices=rs.Devices(clients=MIXED, replicas_at_once=1)),
    "time-drop": _late(lambda: rs.Drop(0.4), PROTOCOLS["fedavg"]),
    "time-drop-v2": _late(lambda: rs.Drop(0.4), PROTOCOLS["v2"]),
    "time-buffer": _late(lambda: rs.Buffer(4), PROTOCOLS["v1"]),
    "time-deadline": _late(lambda: rs.Deadline(0.13), PROTOCOLS["v1"]),
    "time-deadline-v2": _late(lambda: rs.Deadline(0.13), PROTOCOLS["v2"]),
}


def _writers(by: Any = None, protocol: Any = None, subset: bool = False, model: Any = None, **options: Any) -> Any:
    """LeNet, unless another ``model`` is given, on invented handwriting, dealt anew where ``by`` says how."""
    population = rs.synthetic_writers(writers=6, mean_samples=12, sd_samples=3, test_share=0.25)
    if subset:
        population = rs.subset(population, 30, 12)
    if by is not None:
        population = rs.partitioned(population, by, **{"clients": 5, **options})
    model = model or rs.lenet((1, 28, 28), classes=62, cut="layer2", tail="fc1")
    return toy(protocol or rs.SplitFedV2(), 4, population=population, model=model, training__rounds=1)


CASES |= {
    "data-writers": lambda: _writers(),
    "data-iid": lambda: _writers(rs.Iid()),
    "data-dirichlet": lambda: _writers(rs.Dirichlet(0.5), rs.FedAvg(), test="iid"),
    "data-shards": lambda: _writers(rs.Shards(2), test="pool"),
    "data-classes": lambda: _writers(rs.ClassesPerClient(8), at_least=2),
    "data-quantity": lambda: _writers(rs.QuantitySkew(0.5), rs.SplitFedV1()),
    "data-log-normal": lambda: _writers(rs.LogNormalSizes(1.0), features=rs.Rotations(2)),
    "data-natural": lambda: _writers(rs.Natural(), features=rs.NoiseLevels(0.2)),
    "data-subset": lambda: _writers(rs.Iid(), rs.SplitFedV3(), subset=True),
    "model-femnist": lambda: _writers(model=rs.femnist_cnn(cut="V1", tail="fc1")),
    "model-graphs": lambda: _graphs(rs.SplitFedV2(u_shaped=True)),
    "model-graphs-cycle": lambda: _graphs(rs.CycleSfl()),
}


def _graphs(protocol: Any) -> Any:
    gin = rs.gin(nodes=8, labels=3, classes=2, cut="layer2", tail="gin3", hidden=6, padded=True)
    return toy(protocol, 4, population=Chains(), model=gin, pixels="bytes")


@rs.part
class RoundByRound(contract("TrainingProtocol")):  # type: ignore[misc]
    """A protocol of a user's own, in the words of both contracts: the server portion steps once a round on everybody's
    gradients."""

    client_sync: ClassVar[str] = "averaging"
    meeting: ClassVar[str] = "averaging"
    server: ClassVar[str] = "shared"
    u_shaped: ClassVar[bool] = False
    order: ClassVar[str] = "interleaved"
    server_step: ClassVar[str] = "round"
    server_turn: ClassVar[str] = "round"
    synchrony: ClassVar[str] = "synchronous"
    pace: ClassVar[str] = "synchronous"
    client_state: ClassVar[str] = "fresh"
    server_state: ClassVar[str] = "persistent"


CASES |= {
    "own-protocol": lambda: toy(RoundByRound(), training__rounds=3),
    "own-protocol-attacked": lambda: attacked(
        RoundByRound(), pick("CompositeAttack", "Together")((rs.SignFlip(), rs.SmashedNoise()))
    ),
}
