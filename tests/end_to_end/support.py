"""What runs with what: every protocol, on a small model of each family, pooled and colocated, on real data, or for
texts on invented speeches."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from raysplit.engine.placement import Resources, Wanted, lay_out
from raysplit.engine.ray.actor_pool import ActorPool
from raysplit.engine.ray.ray_engine import RayEngine
from raysplit.errors import ClusterError, ScenarioError
from raysplit.models.alexnet import alexnet
from raysplit.models.femnist_cnn import femnist_cnn
from raysplit.models.gin import gin
from raysplit.models.lenet import lenet
from raysplit.models.network import ModelSpec
from raysplit.models.resnet import resnet18
from raysplit.models.stacked_lstm import shakespeare_lstm
from raysplit.models.unsplit import unsplit_mnist
from raysplit.population.partition.iid import Iid
from raysplit.population.partition.partitioned import partitioned
from raysplit.population.partition.subset import subset
from raysplit.population.population import PopulationSpec
from raysplit.population.selection.cohort import Cohort
from raysplit.population.text.synthetic import synthetic_roles
from raysplit.protocols.buffered import BufferedSplitFed
from raysplit.protocols.centralized import Centralized
from raysplit.protocols.cycle_sl import CyclePsl, CycleSfl
from raysplit.protocols.extended_split import ExtendedSplit
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.loss_drop import AsyncSplitFed, AsyncSplitLearning
from raysplit.protocols.minibatch_sfl import MiniBatchSfl
from raysplit.protocols.multi_task_split import MultiTaskSplit, Task
from raysplit.protocols.parallel_sl import ParallelSl
from raysplit.protocols.protocol import TrainingProtocol
from raysplit.protocols.sglr import Sglr
from raysplit.protocols.split_learning import SplitLearning
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.protocols.splitfed_v3 import SplitFedV3
from raysplit.protocols.vertical_split import VerticalSplit
from raysplit.scenario.layout import Layout
from raysplit.scenario.scenario import Evaluation, Scenario
from raysplit.training.settings import Training
from tests.toys import play

CLIENTS, SAMPLES = 3, 4

PROTOCOLS: dict[str, TrainingProtocol] = {
    "Centralized": Centralized(),
    "FedAvg": FedAvg(),
    "SplitLearning": SplitLearning(),
    "SplitLearning, batch by batch": SplitLearning(schedule="minibatch"),
    "SplitLearning, U-shaped": SplitLearning(u_shaped=True),
    "SplitFedV1": SplitFedV1(),
    "SplitFedV1, gradients": SplitFedV1(reading="gradients"),
    "SplitFedV1, accumulated": SplitFedV1(reading="accumulated"),
    "SplitFedV1, U-shaped": SplitFedV1(u_shaped=True),
    "SplitFedV2": SplitFedV2(),
    "SplitFedV2, client-major": SplitFedV2(order="client_major"),
    "SplitFedV2, U-shaped": SplitFedV2(u_shaped=True),
    "SplitFedV3": SplitFedV3(),
    "ParallelSl": ParallelSl(),
    "MiniBatchSfl": MiniBatchSfl(),
    "Sglr": Sglr(),
    "CycleSfl": CycleSfl(),
    "CyclePsl": CyclePsl(),
    "AsyncSplitLearning": AsyncSplitLearning(),
    "AsyncSplitFed": AsyncSplitFed(),
    "BufferedSplitFed": BufferedSplitFed(buffer=2),
    "VerticalSplit": VerticalSplit(parties=2),
    "ExtendedSplit": ExtendedSplit(),
    "MultiTaskSplit": MultiTaskSplit((Task("class"), Task("class again", weight=0.5))),
    "SplitFedV1 as Thapa et al.'s code": SplitFedV1(as_published="thapa2022"),
    "SplitFedV2 as SLPerf's code": SplitFedV2(order="client_major", as_published="slperf"),
}

FAMILIES: dict[str, ModelSpec] = {
    "FEMNIST CNN": femnist_cnn(cut="V1", tail="fc1"),
    "LeNet": lenet((1, 28, 28), classes=10, cut="layer2", tail="fc1"),
    "AlexNet": alexnet((3, 32, 32), classes=7, cut="V1", tail="conv5"),
    "ResNet-18": resnet18((3, 32, 32), classes=7, cut="layer3", tail="block8"),
    "UnSplit's": unsplit_mnist(cut="2", tail="8"),
    "GIN": gin(nodes=28, labels=7, classes=2, cut="layer2", tail="gin3", padded=True),
    "Stacked LSTM": shakespeare_lstm(cut="layer2", tail="lstm2", hidden=6),
}
READ_AS_BYTES = ("GIN", "Stacked LSTM")

Cell = str


def data(family: str, sets: Path) -> PopulationSpec:
    """Three clients of a few samples for a family; ``sets``: the folder of prepared files."""
    if family == "Stacked LSTM":
        return synthetic_roles(CLIENTS, mean_samples=SAMPLES + 2, spread=0.0, test_share=0.3)
    files = {"FEMNIST CNN": "femnist", "LeNet": "mnist", "UnSplit's": "mnist", "GIN": "MUTAG"}
    from raysplit.population.arrow import ArrowFile

    pool = subset(ArrowFile(str(sets / f"{files.get(family, 'ham10000-32')}.arrow")), CLIENTS * SAMPLES, 5)
    return partitioned(pool, Iid(), clients=CLIENTS)


def scenario(protocol: TrainingProtocol, family: str, sets: Path) -> Scenario:
    """Two rounds in batches of two."""
    return Scenario(
        name="support",
        population=data(family, sets),
        model=FAMILIES[family],
        protocol=protocol,
        cohort=Cohort(CLIENTS),
        training=Training(rounds=2, lr=0.01, batch_size=2),
        evaluation=Evaluation(every=2, clients=None),
        pixels="bytes" if family in READ_AS_BYTES else "unit",
    )


def cell(protocol: TrainingProtocol, family: str, sets: Path, have: Resources, actor_pool: ActorPool) -> Cell:
    """What became of a protocol on a family: ``both`` placements gave the same bits, ``colocated`` only, or the
    refusal."""
    try:
        experiment = scenario(protocol, family, sets)
        Layout(experiment)
    except ScenarioError as error:
        return f"refused: {error}"
    colocated = play(experiment)
    assert colocated.tables["rounds"].num_rows == 2
    try:
        layout = lay_out(experiment, have, Wanted(1, 1, "pooled"))
    except ClusterError:
        return "colocated"  # this protocol has no main server to put elsewhere
    with RayEngine(experiment, layout, actor_pool) as engine:
        assert play(experiment, engine).digest == colocated.digest
    return "both"


def page(cells: Mapping[tuple[str, str], Cell]) -> str:
    """docs/support.md."""
    families = list(FAMILIES)
    notes: list[str] = []
    lines = [f"| protocol | {' | '.join(families)} |", "|---" * (len(families) + 1) + "|"]
    for protocol in PROTOCOLS:
        row = []
        for family in families:
            found = cells[protocol, family]
            if found.startswith("refused: "):
                if found not in notes:
                    notes.append(found)
                row.append(f"no [{notes.index(found) + 1}]")
            else:
                row.append({"both": "P C", "colocated": "C"}[found])
        lines.append(f"| {protocol} | {' | '.join(row)} |")
    refusals = [f"[{number}] {note.removeprefix('refused: ')}" for number, note in enumerate(notes, 1)]
    return "\n".join([HEAD, *lines, "", *([*refusals, ""] if refusals else []), FOOT])


def cells_of(page: str) -> dict[tuple[str, str], Cell]:
    """What docs/support.md says of every cell: ``page`` backwards."""
    notes = dict(re.findall(r"^\[(\d+)\] (.*)$", page, re.MULTILINE))
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")][1:]
    cells: dict[tuple[str, str], Cell] = {}
    for protocol, *said in rows:
        for family, text in zip(FAMILIES, said, strict=True):
            refused = re.fullmatch(r"no \[(\d+)\]", text)
            cells[protocol, family] = (
                f"refused: {notes[refused[1]]}" if refused else {"P C": "both", "C": "colocated"}[text]
            )
    return cells


HEAD = """# What runs with what

Written by `tests/end_to_end/test_support.py`, which runs every cell for two rounds on real data (FEMNIST writers,
MNIST, HAM10000, MUTAG; texts are invented speeches) and fails where this page is not what it found. **P**: pooled, on
Ray, the server portion in an actor of its own; **C**: colocated with its clients, in one process. Where both stand, both
gave the same bits. Protocols without a cut, and topologies that one host plays, have no pooled form.
"""
FOOT = """To write this page anew: `RAYSPLIT_TEST_DATA=FOLDER RAYSPLIT_WRITE_SUPPORT=1 python -m pytest
tests/end_to_end/test_support.py`.
"""
