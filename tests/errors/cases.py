"""Every wrong input of docs/errors.md: how to make it, and the command line that meets it.

A case is a function that is given an empty working folder ``here`` and returns the arguments after ``raysplit``. Its
name is its row in docs/errors.md, which holds the sentence that must come back.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from raysplit.population.arrow_writer import ClientData, write_population

TINY = """\
from raysplit import *

scenario = Scenario(
    name="tiny",
    population=synthetic_writers(writers=20, mean_samples=30, sd_samples=5),
    model=femnist_cnn(cut="V2"),
    protocol=SplitFedV2(),
    cohort=Cohort(size=4, malicious=0.25),
    training=Training(rounds=3, lr=0.05),
    evaluation=Evaluation(clients=5),
)
"""

Case = Callable[[Path], list[str]]
CASES: dict[str, Case] = {}
FINISHED = "finished-run"
UNFINISHED = "unfinished-run"
"""Folders beside ``here`` in which a run of ``TINY`` is finished, and one interrupted after its second round."""


def case(make: Case) -> Case:
    CASES[make.__name__.replace("_", "-")] = make
    return make


def edited(name: str, old: str, new: str, *options: str) -> None:
    """A case that is ``TINY`` with ``old`` replaced by ``new``."""
    assert TINY.count(old) == 1, old

    def make(here: Path) -> list[str]:
        return scenario(here, TINY.replace(old, new), *options)

    CASES[name] = make


def optioned(name: str, *options: str, engine: str = "local") -> None:
    """A case that is ``TINY`` with wrong options on the command line."""
    CASES[name] = lambda here: scenario(here, TINY, *options, engine=engine)


def scenario(here: Path, text: str, *options: str, engine: str = "local") -> list[str]:
    (here / "tiny.py").write_text(text)
    return ["run", "tiny.py", "--engine", engine, *options]


def stands(here: Path, kind: str) -> Path:
    """Put a run of ``TINY`` under ``here``; its folder relative to ``here``."""
    shutil.copytree(here.parent / kind, here, dirs_exist_ok=True)
    (run,) = (path for path in (here / "runs").iterdir() if path.is_dir())
    return run.relative_to(here)


def resume(run: Path) -> list[str]:
    return ["resume", str(run), "--engine", "local"]


def population(here: Path, shape: tuple[int, int, int] = (1, 28, 28), classes: int = 62) -> Path:
    """A small population file under ``here``."""
    pixels = np.zeros((3, *shape), dtype=np.uint8)
    labels = np.zeros(3, dtype=np.int64)
    clients = [ClientData(f"w{n}", pixels, labels, pixels[:1], labels[:1]) for n in range(20)]
    write_population(here / "letters.arrow", clients, name="letters", shape=shape, classes=classes)
    return here / "letters.arrow"


def on_file(here: Path) -> list[str]:
    return scenario(
        here, TINY.replace("synthetic_writers(writers=20, mean_samples=30, sd_samples=5)", 'ArrowFile("letters.arrow")')
    )


def damage(path: Path, at: float) -> None:
    """Turn 16 bytes over, at a share of the file."""
    data = bytearray(path.read_bytes())
    start = int(len(data) * at)
    data[start : start + 16] = bytes(255 - byte for byte in data[start : start + 16])
    path.write_bytes(bytes(data))


# The scenario file


@case
def file_unknown(here: Path) -> list[str]:
    scenario(here, TINY)
    return ["run", "tyni.py"]


edited("file-syntax", "training=Training(rounds=3, lr=0.05),", "training=Training(rounds=3, lr=0.05,")
edited("file-import", "from raysplit import *", "from raysplit import SplitFedV4")
edited("file-name", "SplitFedV2()", "SplitfedV2()")
edited("file-raises", 'name="tiny"', 'name={}["tiny"]')
edited("file-exits", "from raysplit import *", "from raysplit import *\nimport sys\nsys.exit()")
edited("file-empty", "scenario = Scenario(", "experiment = Scenario(")
edited("file-no-scenario", "scenario = Scenario(", "scenario = dict(")
edited("file-binary", "from raysplit import *", "\0")


@case
def file_twins(here: Path) -> list[str]:
    return scenario(here, TINY + "scenarios = [scenario, scenario.replace(seed=7)]\n")


@case
def cohort_memory(here: Path) -> list[str]:
    text = TINY.replace("writers=20", "writers=1_000_000").replace("size=4", "size=100_000")
    return scenario(here, text.replace("SplitFedV2()", "FedAvg(), defense=Median()"))


def own_model(here: Path, before: str, inside: str) -> list[str]:
    """``TINY`` with a network of its own."""
    make = f"def make():\n    {inside}\n    return [('a', nn.Flatten()), ('b', nn.Linear(784, 62))]\n"
    text = TINY.replace('femnist_cnn(cut="V2")', 'sequential(make, (1, 28, 28), 62, cut="a")')
    return scenario(here, f"from torch import nn\n{before}\n{make}{text}")


@case
def code_not_followed(here: Path) -> list[str]:
    return own_model(here, "LOG = open(__file__)", "LOG")


@case
def code_imports_late(here: Path) -> list[str]:
    (here / "nets.py").write_text("WIDTH = 3\n")
    return own_model(here, "", "from nets import WIDTH")


@case
def module_mistaken(here: Path) -> list[str]:
    (here / "nets.py").write_text("def maker():\n    return 1 / 0\n\n\nmaker()\n")
    return scenario(here, "import nets\n" + TINY)


# A scenario's parts

edited("part-option", "lr=0.05", "lr=0.05, local_epoch=2")
edited("part-missing", "rounds=3, ", "")
edited("part-type", "size=4", 'size="4"')
edited("part-range", "lr=0.05", "lr=-1")
edited("part-rounds", "rounds=3", "rounds=0")
edited("part-share", "malicious=0.25", "malicious=20")
edited("part-checkpoint", "evaluation=Evaluation(clients=5)", "checkpoint_every=0")
edited("part-evaluation", "Evaluation(clients=5)", "Evaluation(every=0)")
edited("part-name", 'name="tiny"', 'name="tiny/run"')
edited("cut-unknown", 'cut="V2"', 'cut="V9"')
edited("cut-missing", 'cut="V2"', "cut=None")
edited("cut-server-empty", 'cut="V2"', 'cut="fc2"')
edited("cut-no-tail", "SplitFedV2()", "SplitFedV2(u_shaped=True)")
edited("attack-nobody", "malicious=0.25),", "malicious=0),\n    attack=AgrTailored(),")
edited("attack-nobody-sampled", "malicious=0.25),", "malicious=0.1, of='cohort'),\n    attack=AgrTailored(),")
edited("attack-nobody-there", "malicious=0.25),", "malicious=0.009),\n    attack=AgrTailored(),")
edited("attack-nobody-acts", "size=4, malicious=0.25),", "size=1, malicious=0.05),\n    attack=AgrTailored(),")
edited("attack-no-channel", "SplitFedV2()", "SplitLearning(), attack=AgrTailored()")
edited("attack-too-late", "SplitFedV2()", "SplitFedV2(), attack=AgrTailored(start_round=9)")
edited("attack-class", "SplitFedV2()", "SplitFedV2(), attack=PixelBackdoor(target=62)")
edited("attack-trigger", "SplitFedV2()", "SplitFedV2(), attack=PixelBackdoor(target=0, trigger=Patch(28, 28))")
edited(
    "attack-pixels-of-texts",
    'femnist_cnn(cut="V2"),',
    'shakespeare_lstm(), pixels="bytes", attack=PixelBackdoor(target=0),',
)
edited(
    "attack-brightness-of-texts",
    'femnist_cnn(cut="V2"),',
    'shakespeare_lstm(), pixels="bytes", attack=SemanticBackdoor(Brightness(), target=0),',
)
edited("texts-are-no-pixels", 'femnist_cnn(cut="V2")', "shakespeare_lstm()")
CASES["texts-turned"] = lambda here: scenario(
    here,
    TINY.replace('femnist_cnn(cut="V2"),', 'shakespeare_lstm(), pixels="bytes",').replace(
        "synthetic_writers(writers=20, mean_samples=30, sd_samples=5)",
        "partitioned(synthetic_roles(), Iid(), clients=9, features=Rotations(4))",
    ),
)
edited("bag-uncut", 'femnist_cnn(cut="V2")', "bag_of_words(units=0)")
edited("vectors-missing", 'femnist_cnn(cut="V2")', 'sent140_lstm(embedding="glove.txt")')
edited("attack-no-goal", "clients=5", "clients=5, success_of=LabelFlip()")
edited("attack-two-starts", "SplitFedV2()", "SplitFedV2(), attack=Scheduled(AgrTailored(start_round=2))")
edited("attack-one-step", "SplitFedV2()", "SplitFedV2(), attack=SmashedAscent()")
edited(
    "attack-labels-stay",
    'model=femnist_cnn(cut="V2"),\n    protocol=SplitFedV2(),',
    'model=femnist_cnn(cut="V1", tail="fc2"),\n    protocol=SplitFedV2(u_shaped=True), attack=WireLabelFlip(),',
)
edited("defense-no-channel", "SplitFedV2()", "SplitLearning(), defense=Median()")
edited("defense-no-replicas", "SplitFedV2()", "SplitFedV2(), server_defense=Median()")
edited("defense-replicas-published", "SplitFedV2()", "SplitFedV1(as_published='thapa2022'), server_defense=Median()")
edited("attack-no-replicas", "SplitFedV2()", "SplitFedV2(), attack=OnServerReplicas(SignFlip())")
edited("attack-portion-twice", "SplitFedV2()", "SplitFedV1(), attack=OnServerReplicas(OnServerReplicas(SignFlip()))")
edited("defense-trim", "SplitFedV2()", "SplitFedV2(), defense=TrimmedMean(f=2)")
edited("defense-too-late", "SplitFedV2()", "SplitFedV2(), defense=StartAtRound(Median(), start_round=9)")
edited("defense-twice", "SplitFedV2()", "SplitFedV2(), defense=StartAtRound(StartAtRound(Median(), 2), 3)")
edited("defense-root", "SplitFedV2()", "SplitFedV2(), defense=FLTrust((20,))")
edited("detection-replicas", "SplitFedV2()", "SplitFedV1(), detection=Detection((SmashedScreen(),))")
edited("detection-no-server", "SplitFedV2()", "FedAvg(), detection=Detection((SmashedScreen(),))")
edited("detection-turn", "SplitFedV2()", "MiniBatchSfl(), detection=Detection((SmashedScreen(),))")
edited(
    "detection-published",
    "SplitFedV2()",
    'SplitFedV2("client_major", as_published="slperf"), detection=Detection(rollback=SafeSplit())',
)
edited("detection-screen", "SplitFedV2()", "SplitFedV2('client_major'), detection=Detection((SafeSplit(),))")
edited("detection-order", "SplitFedV2()", "SplitFedV2(), detection=Detection(rollback=SafeSplit())")
edited(
    "detection-labels",
    'cut="V2"),\n    protocol=SplitFedV2()',
    'cut="V1", tail="conv2"),\n    protocol=SplitFedV2(u_shaped=True), detection=Detection((LabelScreen(),))',
)
edited("detection-empty", "SplitFedV2()", "SplitFedV2(), detection=Detection()")
edited("detection-range", "SplitFedV2()", "SplitFedV2(), detection=Detection((LabelScreen(threshold=0),))")
edited("cohort-too-large", "size=4", "size=21")
edited("cohort-poisson", "size=4", "size=4, draw=Poisson(0.5)")
edited("cohort-unreachable", "size=4", "size=4, at_least=5")
edited("cohort-dropouts", "size=4", "size=4, dropouts=Dropouts(10)")
edited("cohort-trace", "size=4", "size=4, available=TraceFile('there.csv')")
edited("state-travels", "lr=0.05", 'lr=0.05, client_state="travels"')
CASES["state-persistent"] = lambda here: scenario(
    here, TINY.replace("SplitFedV2()", "SplitFedV1()").replace("lr=0.05", 'lr=0.05, server_state="persistent"')
)

# The command line

optioned("set-form", "--set", "training.lr")
optioned("set-field", "--set", "training.learning=0.1")
optioned("set-part", "--set", "seed.value=1")
optioned("set-type", "--set", "training.rounds=many")
optioned("set-twice", "--set", "seed=1", "--set", "seed=2")
optioned("set-part-name", "--set", "attack=SignFlop(scale=10.0)")
optioned("set-part-positional", "--set", "attack=SignFlip(10.0)")
optioned("set-part-option", "--set", "attack=SignFlip(size=1)")
optioned("only-unknown", "--only", "tinny")
optioned("only-pattern", "--only", "v*")
optioned("option-unknown", "--host", "2")
optioned("option-value", "--hosts", "two")


@case
def sweep_jobs_ray(here: Path) -> list[str]:
    scenario(here, TINY)
    return ["sweep", "tiny.py", "--jobs", "2", "--engine", "ray"]


CASES["option-engine"] = lambda here: scenario(here, TINY, engine="spark")
CASES["command-unknown"] = lambda here: ["runn", "tiny.py"]
CASES["report-nothing"] = lambda here: ["report", "nowhere"]


@case
def report_no_run(here: Path) -> list[str]:
    (here / "photos").mkdir()
    return ["report", "photos"]


@case
def out_is_a_file(here: Path) -> list[str]:
    (here / "runs").write_text("notes")
    return scenario(here, TINY)


# The cluster

optioned("hosts-zero", "--hosts", "0", engine="ray")
optioned("servers-zero", "--servers", "0", engine="ray")
optioned("gpus-negative", "--gpus-per-host", "-1", engine="ray")
optioned("gpus-missing", "--gpus-per-host", "1", engine="ray")
optioned("hosts-local", "--hosts", "2")
optioned("shards-range", "--shards", "17")
edited("shards-nothing", "SplitFedV2()", "SplitFedV3()", "--shards", "4")
optioned("shards-record", "--shards", "4", "--set", "record_updates_every=1")
edited("shards-rule", "SplitFedV2()", "SplitFedV2(), defense=FoolsGold()", "--shards", "4")
edited(
    "shards-rehearsal",
    "SplitFedV2()",
    "SplitFedV2(), defense=Krum(f=0), attack=OptimalLittleIsEnough()",
    "--shards",
    "4",
)
optioned("address-form", "--address", "cluster", engine="ray")
optioned("address-silent", "--address", "127.0.0.1:1", engine="ray")
CASES["placement-uncut"] = lambda here: scenario(
    here, TINY.replace("SplitFedV2()", "FedAvg()"), "--placement", "pooled", engine="ray"
)

# Data

CASES["data-unknown"] = lambda here: ["data", "prepare", "femnits"]
CASES["data-from-nowhere"] = lambda here: ["data", "prepare", "femnist", "--from", "nowhere", "--out", "femnist.arrow"]
CASES["data-info-nothing"] = lambda here: ["data", "info", "nowhere.arrow"]
CASES["data-option"] = lambda here: ["data", "prepare", "mnist", "--size", "64"]
CASES["data-table-label"] = lambda here: ["data", "prepare", "table", "--from", "t.csv", "--out", "t.arrow"]
CASES["data-own-out"] = lambda here: ["data", "prepare", "image_folder", "--from", "."]
CASES["data-shakespeare"] = lambda here: ["data", "prepare", "shakespeare"]
CASES["data-least"] = lambda here: tweets(here, "--least", "64")
CASES["data-vectors"] = lambda here: tweets(here, "--vectors", "glove.txt")
CASES["data-characters"] = lambda here: tweets(here, "--vectors", "glove.txt", "--characters")
CASES["data-label-of-tweets"] = lambda here: tweets(here, label=4)
CASES["data-info-name"] = lambda here: ["data", "info", "femnits"]


def tweets(here: Path, *options: str, label: int = 1) -> list[str]:
    """Preparing LEAF's json of one user with one tweet."""
    own = {"x": [["1", "May", "NO_QUERY", "ann", "happy"]] * 2, "y": [label, 0]}
    (here / "leaf").mkdir()
    content = {"users": ["ann"], "num_samples": [2], "user_data": {"ann": own}}
    (here / "leaf" / "all_data.json").write_text(json.dumps(content))
    return ["data", "prepare", "sent140", "--from", "leaf", "--out", "tweets.arrow", *options]


def photos(here: Path, name: str, mode: str = "RGB", **options: Any) -> list[str]:
    """Preparing a folder with one good picture of class ``cat``, and one called ``name``."""
    from PIL import Image

    for file in (here / "photos" / "cat" / "1.png", here / "photos" / name):
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB" if file.name == "1.png" else mode, (4, 4)).save(
            file, **({} if file.name == "1.png" else options)
        )
    return ["data", "prepare", "image_folder", "--from", "photos", "--out", "photos.arrow"]


def table(here: Path, text: str, encoding: str = "utf-8") -> list[str]:
    """Preparing a table of that text."""
    (here / "t.csv").write_bytes(text.encode(encoding))
    return ["data", "prepare", "table", "--from", "t.csv", "--label", "y", "--out", "t.arrow"]


CASES["data-pictures-deep"] = lambda here: photos(here, "ann/cat/2.png")
CASES["data-pictures-loose"] = lambda here: photos(here, "stray.png")
CASES["data-pictures-split"] = lambda here: photos(here, "train/cat/2.png")
CASES["data-pictures-depth"] = lambda here: photos(here, "cat/2.png", "I;16")


@case
def data_pictures_kind(here: Path) -> list[str]:
    arguments = photos(here, "cat/2.png")
    (here / "photos" / "cat" / "1.heic").write_bytes(b"x")
    return arguments


@case
def data_pictures_empty(here: Path) -> list[str]:
    arguments = photos(here, "cat/2.png")
    (here / "photos" / "dog").mkdir()
    return arguments


@case
def data_pictures_frames(here: Path) -> list[str]:
    from PIL import Image

    return photos(here, "cat/2.gif", save_all=True, append_images=[Image.new("RGB", (4, 4), "red")])


CASES["data-table-cell"] = lambda here: table(here, "x,y\n1,a\n12 cm,b\n")
CASES["data-table-comma"] = lambda here: table(here, 'x,y\n"1,5",a\n')
CASES["data-table-delimiter"] = lambda here: table(here, "x;y\n1;a\n")
CASES["data-table-encoding"] = lambda here: table(here, "größe,y\n1,a\n", "cp1252")
CASES["data-table-fractions"] = lambda here: table(here, "x,y\n1,1\n2,0.5\n")
CASES["data-table-huge"] = lambda here: table(here, "x,y\n1,a\n1e300,b\n")
CASES["data-table-nameless"] = lambda here: table(here, "x,,y\n1,5,a\n2,5,b\n")
edited("population-option", "writers=20", "writers=0")
edited(
    "partition-option",
    "synthetic_writers(writers=20, mean_samples=30, sd_samples=5)",
    "partitioned(femnist(), Dirichlet(-1), 10)",
)
edited(
    "partition-starved",
    "synthetic_writers(writers=20, mean_samples=30, sd_samples=5)",
    "partitioned(synthetic_writers(writers=2, mean_samples=30, sd_samples=0), Iid(), 100)",
)
edited(
    "population-by-user",
    "synthetic_writers(writers=20, mean_samples=30, sd_samples=5)",
    "by_user(synthetic_writers(writers=20, mean_samples=30, sd_samples=5), test_share=0.0)",
)
edited(
    "population-by-user-cohort",
    "synthetic_writers(writers=20, mean_samples=30, sd_samples=5)",
    "by_user(synthetic_writers(writers=5, mean_samples=30, sd_samples=5), test_share=0.4)",
)
CASES["population-by-user-published"] = lambda here: scenario(
    here,
    TINY.replace("SplitFedV2()", 'SplitFedV1(as_published="thapa2022")').replace(
        "synthetic_writers(writers=20, mean_samples=30, sd_samples=5)", "by_user(synthetic_writers(writers=20))"
    ),
)
edited("population-roles", "synthetic_writers(writers=20, mean_samples=30, sd_samples=5)", "synthetic_roles(roles=0)")
edited(
    "attack-threshold",
    "    evaluation=Evaluation(clients=5),\n",
    "    evaluation=Evaluation(clients=5),\n    attack=FangKrum(threshold=0.0),\n",
)
edited("population-split", "synthetic_writers(writers=20, mean_samples=30, sd_samples=5)", "emnist('ballanced')")
edited("population-unprepared", "synthetic_writers(writers=20, mean_samples=30, sd_samples=5)", "femnist()")


@case
def population_truncated(here: Path) -> list[str]:
    file = population(here)
    file.write_bytes(file.read_bytes()[:-200])
    return on_file(here)


@case
def population_garbage(here: Path) -> list[str]:
    file = population(here)
    file.write_bytes(b"\x07" * file.stat().st_size)
    return on_file(here)


@case
def population_half(here: Path) -> list[str]:
    population(here)
    (here / "letters.clients.arrow").unlink()
    return on_file(here)


@case
def population_flipped(here: Path) -> list[str]:
    """One wrong pixel, which only a check of the digest finds."""
    file = population(here)
    data = bytearray(file.read_bytes())
    place = data.index(bytes(28 * 28))
    data[place + 100] = 200
    file.write_bytes(bytes(data))
    return ["data", "info", "letters.arrow"]


@case
def population_shape(here: Path) -> list[str]:
    population(here, shape=(3, 32, 32))
    return on_file(here)


@case
def population_numbers(here: Path) -> list[str]:
    pixels, labels = np.zeros((3, 1, 28, 28), dtype=np.float32), np.zeros(3, dtype=np.int64)
    clients = [ClientData(f"w{n}", pixels, labels, pixels[:1], labels[:1]) for n in range(20)]
    write_population(here / "letters.arrow", clients, name="letters", shape=(1, 28, 28), classes=62, dtype="float32")
    return [*on_file(here), "--set", "pixels=inverted"]


@case
def population_classes(here: Path) -> list[str]:
    population(here, classes=100)
    return on_file(here)


@case
def population_misspelt(here: Path) -> list[str]:
    mine = "from raysplit.contracts import PopulationSpec\n\n@part\nclass Mine(PopulationSpec):\n    clients: int = 3\n"
    return scenario(here, TINY.replace("from raysplit import *\n", "from raysplit import *\n" + mine))


# Run folders


@case
def run_finished(here: Path) -> list[str]:
    stands(here, FINISHED)
    return ["run", "tiny.py", "--engine", "local"]


@case
def run_unfinished(here: Path) -> list[str]:
    stands(here, UNFINISHED)
    return ["run", "tiny.py", "--engine", "local"]


@case
def overwrite_without_gpu(here: Path) -> list[str]:
    """What cannot run must not cost the run that stands."""
    stands(here, FINISHED)
    return ["run", "tiny.py", "--overwrite", "--engine", "ray", "--gpus-per-host", "1"]


CASES["resume-nothing"] = lambda here: resume(Path("runs/tiny-0000000000"))


@case
def resume_no_run(here: Path) -> list[str]:
    (here / "photos").mkdir()
    return resume(Path("photos"))


CASES["resume-finished"] = lambda here: resume(stands(here, FINISHED))


def more_rounds(run: Path, rounds: int = 5) -> list[str]:
    return [*resume(run), "--rounds", str(rounds)]


CASES["more-rounds-fewer"] = lambda here: more_rounds(stands(here, FINISHED), 3)
CASES["more-rounds-unfinished"] = lambda here: more_rounds(stands(here, UNFINISHED))


@case
def more_rounds_diverged(here: Path) -> list[str]:
    run = stands(here, FINISHED)
    edit_json(here / run / "run.json", status="diverged", rounds=2)
    return more_rounds(run)


@case
def more_rounds_model_only(here: Path) -> list[str]:
    run = stands(here, FINISHED)
    edit_json(here / run / "checkpoints" / "round-000003" / "state.json", format=4)
    return more_rounds(run)


def edit_json(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


CASES["remove-nothing"] = lambda here: ["remove", "runs/tiny-0000000000", "--yes"]


@case
def remove_no_run(here: Path) -> list[str]:
    """The run beside it stays as well."""
    (here / "photos").mkdir()
    return ["remove", str(stands(here, FINISHED)), "photos", "--yes"]


@case
def remove_foreign(here: Path) -> list[str]:
    run = stands(here, FINISHED)
    (here / run / "notes.md").write_text("what I saw")
    return ["remove", str(run), "--yes"]


@case
def remove_link(here: Path) -> list[str]:
    (here / "best").symlink_to(stands(here, FINISHED))
    return ["remove", "best", "--yes"]


CASES["remove-unasked"] = lambda here: ["remove", str(stands(here, FINISHED))]
CASES["clean-nowhere"] = lambda here: ["clean", "nowhere", "--yes"]


@case
def resume_changed(here: Path) -> list[str]:
    run = stands(here, UNFINISHED)
    (here / run / "scenario.py").write_text(TINY.replace("lr=0.05", "lr=0.04"))
    return resume(run)


@case
def resume_renamed(here: Path) -> list[str]:
    run = stands(here, UNFINISHED)
    (here / run / "scenario.py").write_text(TINY.replace('name="tiny"', 'name="small"'))
    return resume(run)


@case
def resume_no_scenario(here: Path) -> list[str]:
    run = stands(here, UNFINISHED)
    (here / run / "scenario.py").unlink()
    return resume(run)


def from_python(here: Path) -> Path:
    """An unfinished run as ``raysplit.run`` leaves it: no scenario file."""
    run = stands(here, UNFINISHED)
    (here / run / "scenario.py").unlink()
    origin = json.loads((here / run / "origin.json").read_text())
    (here / run / "origin.json").write_text(json.dumps({**origin, "file": None}))
    return run


CASES["resume-python"] = lambda here: resume(from_python(here))


@case
def run_unfinished_python(here: Path) -> list[str]:
    from_python(here)
    return ["run", "tiny.py", "--engine", "local"]


@case
def checkpoint_corrupt(here: Path) -> list[str]:
    run = stands(here, UNFINISHED)
    damage(here / run / "checkpoints" / "round-000002" / "model.safetensors", 0.5)
    return resume(run)


@case
def checkpoint_record(here: Path) -> list[str]:
    run = stands(here, UNFINISHED)
    file = here / run / "checkpoints" / "round-000002" / "state.json"
    file.write_bytes(file.read_bytes()[:40])
    return resume(run)


@case
def checkpoint_newer(here: Path) -> list[str]:
    run = stands(here, UNFINISHED)
    file = here / run / "checkpoints" / "round-000002" / "state.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "format": 99}))
    return resume(run)


@case
def checkpoint_model_only(here: Path) -> list[str]:
    run = stands(here, UNFINISHED)
    edit_json(here / run / "checkpoints" / "round-000002" / "state.json", format=4)
    return resume(run)


@case
def checkpoint_foreign(here: Path) -> list[str]:
    run = stands(here, UNFINISHED)
    file = here / run / "checkpoints" / "round-000002" / "state.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "scenario": "0123456789"}))
    return resume(run)


@case
def origin_truncated(here: Path) -> list[str]:
    run = stands(here, UNFINISHED)
    file = here / run / "origin.json"
    file.write_bytes(file.read_bytes()[:20])
    return resume(run)


@case
def origin_lacking(here: Path) -> list[str]:
    run = stands(here, UNFINISHED)
    (here / run / "origin.json").write_text("{}")
    return resume(run)


@case
def state_damaged(here: Path) -> list[str]:
    run = stands(here, UNFINISHED)
    (here / run / "run.json").write_text("{")
    return resume(run)


@case
def state_binary(here: Path) -> list[str]:
    run = stands(here, UNFINISHED)
    (here / run / "run.json").write_bytes(b"\xff\xfe{}")
    return ["report", str(run)]


@case
def table_damaged(here: Path) -> list[str]:
    run = stands(here, UNFINISHED)
    damage(here / run / "metrics" / "clients.arrow", 0.6)
    return resume(run)


@case
def table_damaged_report(here: Path) -> list[str]:
    run = stands(here, FINISHED)
    damage(here / run / "metrics" / "clients.arrow", 0.6)
    return ["report", str(run)]


@case
def table_missing(here: Path) -> list[str]:
    run = stands(here, FINISHED)
    (here / run / "metrics" / "rounds.arrow").unlink()
    return ["report", str(run)]


@case
def table_short(here: Path) -> list[str]:
    run = stands(here, UNFINISHED)
    shutil.copy(here.parent / FINISHED / "empty.arrow", here / run / "metrics" / "rounds.arrow")
    return resume(run)


# Networks

NETWORK = """\
import torch
from torch import nn

from raysplit import *


class Does(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    def forward(self, x):
        {does}
        return x


def make():
    head, body = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1)), nn.Sequential(nn.Flatten(), nn.Linear(784, 62))
    {changed}
    return [("a", head), ("b", body)]


scenario = Scenario(
    name="tiny",
    population=synthetic_writers(writers=20, mean_samples=30, sd_samples=5),
    model=sequential(make, (1, 28, 28), 62, cut="a"),
    protocol=SplitFedV1(),
    cohort=Cohort(size=4),
    training=Training(rounds=3, lr=0.05, batch_size={batch}),
    defense={defense},
)
"""


def network(name: str, changed: str, does: str = "pass", defense: str = "Mean()", batch: str = "None") -> None:
    """A case whose network is ``changed`` before it is cut, and whose own layer ``does`` something to x."""
    text = NETWORK.format(changed=changed, does=does, defense=defense, batch=batch)
    CASES[name] = lambda here: scenario(here, text)


network("network-lazy", "body[1] = nn.LazyLinear(62)")
network("network-tuple", "head.append(Does()), body.insert(0, Does())", "x = x[0] if isinstance(x, tuple) else (x, x)")
network("network-in-place", "body.insert(0, Does())", "x += 1")
network("network-counts", "head.append(Does())", "self.seen += 1")
network("network-remembers", "head.append(Does())", "self.last = getattr(self, 'last', 0) + 1; x = x + self.last")
network("network-detached", "head.append(Does())", "x = x.detach()")
network("network-width", "body[1] = nn.Linear(784, 5)")
network("network-frozen", "head.requires_grad_(False), body.requires_grad_(False)")
network("network-frozen-rule", "head.requires_grad_(False)", defense="Median()")


@case
def network_weights(here: Path) -> list[str]:
    model = 'torchvision_model("resnet18", cut="layer1", weights="IMAGENET1K_V1")'
    return scenario(here, TINY.replace('femnist_cnn(cut="V2")', model))


@case
def batch_of_one(here: Path) -> list[str]:
    population(here)
    text = NETWORK.format(changed="body.append(nn.BatchNorm1d(62))", does="pass", defense="Mean()", batch="2")
    return scenario(
        here, text.replace("synthetic_writers(writers=20, mean_samples=30, sd_samples=5)", 'ArrowFile("letters.arrow")')
    )


@case
def population_untested(here: Path) -> list[str]:
    pixels, labels = np.zeros((3, 1, 28, 28), dtype=np.uint8), np.zeros(3, dtype=np.int64)
    clients = [ClientData(f"w{n}", pixels, labels, pixels[:0], labels[:0]) for n in range(20)]
    write_population(here / "letters.arrow", clients, name="letters", shape=(1, 28, 28), classes=62)
    return on_file(here)


# Attacks on runs


def inferred(name: str, attack: str, *options: str) -> None:
    """A case that attacks the finished run of ``TINY``."""
    CASES[name] = lambda here: ["infer", str(stands(here, FINISHED)), "--attack", attack, *options]


inferred("infer-two-classes", "NormLabels(channel='cut_gradients')", "--round", "1")
inferred("infer-one-sample", "SignLabels", "--round", "1")
inferred("infer-in-training", "ClusterLabels(channel='cut_gradients')")
inferred("infer-channel", "ClusterLabels", "--round", "1")
inferred("infer-knows", "UnSplit", "--knows", "queries")
inferred("infer-party", "UnSplit", "--party", "server")
inferred("infer-round", "UnSplit", "--round", "9")
inferred("infer-no-attack", "ImagePrior")
optioned("observe-channel", "--set", "observe=Observe(rounds=(1,), channels=('features',))")
optioned("observe-round", "--set", "observe=Observe(rounds=(9,))")
optioned("number-infinite", "--set", "training.lr=1e999")
