"""An edited experiment is another experiment: what changes a scenario's hash, and what does not."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from raysplit.errors import ScenarioError
from raysplit.scenario.file import load_scenarios

SCENARIO = '''\
"""An experiment with parts of its own."""
import functools
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

import layers
from helpers import POWER, scaled
from raysplit import Cohort, FedAvg, Scenario, Training, sequential, synthetic_writers
from raysplit.contracts import AggregationRule, part

WIDTH = 8
TABLE = {"low": [1, 2], "high": np.arange(4.0)}
WEIGHTS = torch.ones(3)
START = "start.bin"


def twice(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args) * 2

    return wrapper


def times(factor):
    def multiply(x):
        return x * factor

    return multiply


def inner(x):
    return x + 1


def outer(x):
    return inner(x)


@twice
def decorated(x):
    return x


def unrelated(x):
    return x


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(9 * WIDTH, 62)

    def forward(self, x):
        return self.fc(x.flatten(1)) * WEIGHTS.mean()


def make(width=WIDTH, depth=1):
    norm = TABLE["high"].sum()
    state = Path(START).read_bytes()
    head = Path("literal.bin").read_bytes()
    return [("conv", layers.conv(width, norm)), ("net", Net())]


class Base:
    margin = 1

    def shift(self, x):
        return x + self.margin


class Loud(Base):
    factor = 1.5


multiplied = times(3)


@part
class Rule(Loud, AggregationRule):
    scale: float = 1.0
    change: object = None
    weights: str = "weights.bin"
    columnwise = False

    def aggregate(self, updates, weights, context):
        def again(x):
            return [multiplied(scaled(item)) for item in decorated(x)]

        return outer(self.shift(again(updates))) ** POWER


scenario = Scenario(
    name="own",
    population=synthetic_writers(writers=20, mean_samples=30, sd_samples=5),
    model=sequential(make, (1, 5, 5), 62, cut="conv"),
    protocol=FedAvg(),
    cohort=Cohort(4),
    training=Training(rounds=1, lr=0.1),
    defense=Rule(change=lambda x: x * 2),
)
'''
HELPERS = """\
import layers

POWER = 2
SHARE = 0.5


def scaled(x):
    return shared(x) * SHARE


def shared(x):
    return x / 2


def never():
    return 1
"""
LAYERS = """\
from torch import nn

KERNEL = 3


def conv(width, norm):
    return nn.Conv2d(1, width, KERNEL)


def other():
    return 1
"""


def hash_of(folder: Path, edits: dict[str, tuple[str, str]] | None = None) -> str:
    """The hash of the experiment after edits, file by file; run in ``folder``."""
    texts = {"own.py": SCENARIO, "helpers.py": HELPERS, "layers.py": LAYERS}
    texts |= dict.fromkeys(("weights.bin", "start.bin", "literal.bin"), "first")
    for file, (old, new) in (edits or {}).items():
        assert texts[file].count(old) == 1, old
        texts[file] = texts[file].replace(old, new)
    folder.mkdir(exist_ok=True)
    for file, text in texts.items():
        (folder / file).write_text(text)
    here = Path.cwd()
    os.chdir(folder)
    try:
        (scenario,), _ = load_scenarios(folder / "own.py")
        return scenario.hash
    finally:
        os.chdir(here)


EDITS = {
    "a module constant in a network's class": ("own.py", "WIDTH = 8", "WIDTH = 32"),
    "a list in a dictionary": ("own.py", "np.arange(4.0)", "np.arange(5.0)"),
    "a tensor": ("own.py", "torch.ones(3)", "torch.zeros(3)"),
    "a helper of a helper": ("own.py", "return x + 1\n", "return x + 2\n"),
    "a helper": ("own.py", "return inner(x)", "return inner(x) + 0"),
    "a network's class that make() uses": ("own.py", "x.flatten(1)", "x.flatten(1).relu()"),
    "a default argument": ("own.py", "depth=1", "depth=2"),
    "the value in a closure": ("own.py", "times(3)", "times(4)"),
    "a method of a base class": ("own.py", "return x + self.margin", "return x - self.margin"),
    "an attribute of a base class": ("own.py", "margin = 1", "margin = 2"),
    "an attribute of a class": ("own.py", "factor = 1.5", "factor = 2.5"),
    "a decorator": ("own.py", "function(*args) * 2", "function(*args) * 3"),
    "that there is a decorator": ("own.py", "@twice\n", ""),
    "a lambda in a field": ("own.py", "lambda x: x * 2", "lambda x: x * 3"),
    "a nested function": ("own.py", "for item in decorated(x)", "for item in x"),
    "a base class": ("own.py", "class Loud(Base)", "class Loud(Base, dict)"),
    "a constant that is imported": ("helpers.py", "POWER = 2", "POWER = 3"),
    "a constant that a helper module's function reads": ("helpers.py", "SHARE = 0.5", "SHARE = 0.6"),
    "a function that a helper module's function calls": ("helpers.py", "return x / 2", "return x / 3"),
    "a function read as an attribute of a module": ("layers.py", "nn.Conv2d(1,", "nn.Conv2d(1 + 0,"),
    "a constant of that module": ("layers.py", "KERNEL = 3", "KERNEL = 5"),
    "which function a name means": (
        "own.py",
        "from helpers import POWER, scaled",
        "from helpers import POWER, shared as scaled",
    ),
    "the content of a file that a field names": ("weights.bin", "first", "second"),
    "the content of a file that a constant names": ("start.bin", "first", "second"),
    "the content of a file that a function names": ("literal.bin", "first", "second"),
}
NOTHING = {
    "a comment": ("own.py", "WIDTH = 8\n", "WIDTH = 8  # wide\n\n\n"),
    "spaces": ("own.py", "def outer(x):\n", "def outer( x ):\n\n"),
    "a docstring": ("own.py", "    return inner(x)", '    """One more."""\n    return inner(x)'),
    "an unrelated function": ("own.py", "def unrelated(x):\n    return x", "def unrelated(y):\n    return y + 1"),
    "an unrelated function of a helper module": ("helpers.py", "return 1", "return 2"),
    "an unrelated function of a module read by attribute": ("layers.py", "    return 1", "    return 2"),
    "the scenario's name": ("own.py", 'name="own"', 'name="other"'),
}


@pytest.fixture(scope="module")
def plain_hash(tmp_path_factory):
    return hash_of(tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_of_what_parts_reach_gives_another_hash(edit, plain_hash, tmp_path):
    file, old, new = EDITS[edit]
    assert hash_of(tmp_path, {file: (old, new)}) != plain_hash


@pytest.mark.parametrize("edit", NOTHING)
def test_an_edit_that_changes_nothing_keeps_the_hash(edit, plain_hash, tmp_path):
    file, old, new = NOTHING[edit]
    assert hash_of(tmp_path, {file: (old, new)}) == plain_hash


def test_every_edit_gives_a_hash_of_its_own(tmp_path):
    hashes = [hash_of(tmp_path, {file: (old, new)}) for file, old, new in EDITS.values()]
    assert len(set(hashes)) == len(EDITS) >= 12


def test_the_hash_is_the_same_in_another_process_with_another_seed_of_hashes(plain_hash, tmp_path):
    assert hash_of(tmp_path) == plain_hash
    program = "import sys; from pathlib import Path; from raysplit.scenario.file import load_scenarios\n"
    program += "print(load_scenarios(Path('own.py'))[0][0].hash)"
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2])}
        told = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        assert told.stdout.strip() == plain_hash


def test_the_digest_of_an_experiments_own_parts_is_quick(tmp_path, monkeypatch):
    hash_of(tmp_path)
    monkeypatch.chdir(tmp_path)
    (scenario,), _ = load_scenarios(tmp_path / "own.py")
    start = time.perf_counter()
    assert scenario.hash
    assert time.perf_counter() - start < 0.25, "0.02 s on an idle core; room for a busy machine"


REFUSED = {
    "an open file": ("LOG = open(__file__)", "'LOG', which make reads, holds a TextIOWrapper, which"),
    "a lock": ("import threading\nLOG = {'lock': threading.Lock()}", "'LOG', which make reads, holds a lock, which"),
    "a generator": ("LOG = (i for i in range(3))", "'LOG', which make reads, holds a generator, which"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_followed_is_refused_in_one_sentence(what, tmp_path):
    line, sentence = REFUSED[what]
    whole = SCENARIO.replace("WIDTH = 8\n", f"WIDTH = 8\n{line}\n").replace(
        "    norm = TABLE", "    LOG\n    norm = TABLE"
    )
    with pytest.raises(ScenarioError, match=sentence) as caught:
        hash_of(tmp_path, {"own.py": (SCENARIO, whole)})
    assert "\n" not in str(caught.value) and "make it inside the function" in str(caught.value)


def test_an_import_of_a_helper_module_inside_a_function_is_refused(tmp_path):
    edit = ("    norm = TABLE", "    from layers import KERNEL\n    norm = TABLE")
    with pytest.raises(ScenarioError, match=r"make imports 'layers' when it runs, .* at the top of the file"):
        hash_of(tmp_path, {"own.py": edit})


def test_a_library_may_be_imported_inside_a_function(tmp_path, plain_hash):
    edit = ("    norm = TABLE", "    import math\n    from torch.nn import Linear\n    norm = TABLE")
    assert hash_of(tmp_path, {"own.py": edit}) != plain_hash


def test_code_that_reaches_itself_has_a_hash(tmp_path, plain_hash):
    circles = "RING = []\nRING.append(RING)\ndef ping(n):\n    return n and pong(n - 1), RING\n"
    circles += "def pong(n):\n    return n and ping(n - 1), Rule, lambda: scenario\n\n\n"
    start = ("def make(width=WIDTH", circles + "def make(width=WIDTH")
    whole = SCENARIO.replace(*start).replace("    norm = TABLE", "    ping(2)\n    norm = TABLE")
    one = hash_of(tmp_path, {"own.py": (SCENARIO, whole)})
    assert one == hash_of(tmp_path, {"own.py": (SCENARIO, whole)}) != plain_hash
    assert one != hash_of(tmp_path, {"own.py": (SCENARIO, whole.replace("ping(n - 1), Rule", "ping(0), Rule"))})


def test_a_chain_of_ten_thousand_values_has_a_hash(tmp_path):
    chain = "WIDTH = 8\nLINK = []\nfor _ in range(10_000):\n    LINK = [LINK]\n"
    whole = SCENARIO.replace("WIDTH = 8\n", chain).replace("    norm = TABLE", "    LINK\n    norm = TABLE")
    longer = whole.replace("10_000", "10_001")
    assert hash_of(tmp_path, {"own.py": (SCENARIO, whole)}) != hash_of(tmp_path, {"own.py": (SCENARIO, longer)})


def test_a_hundred_megabytes_of_numbers_are_a_digest_within_seconds():
    from raysplit.parts.content import numbers

    start = time.perf_counter()
    huge = np.zeros(25_000_000, dtype=np.float32)
    one = numbers(huge)
    huge[-1] = 1
    assert one != numbers(huge) and len(str(one)) < 200
    assert time.perf_counter() - start < 10


def test_a_run_that_fills_a_module_level_cache_keeps_its_hash(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whole = SCENARIO.replace("WIDTH = 8\n", "WIDTH = 8\nSEEN = {}\n")
    whole = whole.replace("    norm = TABLE", "    SEEN[width] = 1\n    norm = TABLE")
    hash_of(tmp_path, {"own.py": (SCENARIO, whole)})
    (scenario,), module = load_scenarios(tmp_path / "own.py")
    before = scenario.hash
    module.SEEN[1] = 2
    assert scenario.hash == before == load_scenarios(tmp_path / "own.py")[0][0].hash
    assert scenario.replace(seed=42).hash != before, "a new scenario is named by what its code reads now"


def test_functions_without_a_text_are_known_by_their_bytecode():
    from raysplit.parts.code_digest import code_digest

    def made(text: str) -> str:
        names: dict[str, object] = {"__name__": "nowhere"}
        exec(text, names)
        return code_digest(names["f"])

    assert made("f = lambda x: x + 1") == made("\n\nf = lambda x:  x + 1") != made("f = lambda x: x - 1")
    assert made("def f(x):\n    return g(x)\ndef g(x): return 1") != made(
        "def f(x):\n    return g(x)\ndef g(x): return 2"
    )


def test_two_lambdas_on_one_line_are_told_apart():
    from raysplit.parts.code_digest import code_digest

    one, other = (lambda x: x + 1), (lambda x: x - 1)
    assert code_digest(one) != code_digest(other)
