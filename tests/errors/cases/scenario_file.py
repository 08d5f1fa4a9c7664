"""Scenario files that cannot be loaded, or hold what cannot be hashed or held in memory."""

from __future__ import annotations

from pathlib import Path

from tests.errors.making import TINY, case, edited, scenario


@case
def file_unknown(here: Path) -> list[str]:
    scenario(here, TINY)
    return ["run", "tyni.py"]


edited("file-syntax", "training=Training(rounds=3, lr=0.05),", "training=Training(rounds=3, lr=0.05,")
edited("file-import", "from raysplit import *", "from raysplit import SplitFedV4")
edited("file-unimported", "from raysplit import *", "from raysplit import SplitFedV2")
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
