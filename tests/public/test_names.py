"""The public names: one table, a stub that says the same to type checkers and editors, nothing heavy before its
time."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import raysplit
import raysplit.contracts

ROOT = Path(raysplit.__file__).parents[1]


def tool():
    spec = importlib.util.spec_from_file_location("public_names", ROOT / "tools" / "public_names.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_stub_is_what_the_table_gives():
    written = (ROOT / "raysplit" / "__init__.pyi").read_text(encoding="utf-8")
    assert written == tool().stub(), "run python tools/public_names.py"


def test_every_public_name_is_defined_where_the_table_says():
    for home, names in raysplit.HOMES.items():
        for name in names:
            thing = getattr(raysplit, name)
            assert thing is getattr(importlib.import_module(home), name)
            assert getattr(thing, "__module__", home) == home, f"{name} is only imported in {home}"


def test_an_editor_completes_the_public_names():
    assert {*raysplit.__all__, "contracts"} <= set(dir(raysplit))
    assert {"Scenario", "TrimmedMean", "run", "Run", "open_run"} <= set(raysplit.__all__)


def test_importing_raysplit_imports_nothing_heavy():
    code = (
        "import sys, raysplit; print([m for m in ('torch', 'numpy', 'pyarrow', 'pandas', 'ray') if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_opening_a_run_does_not_wait_for_torch():
    code = "import sys, raysplit; raysplit.open_run; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


def test_contracts_offers_all_that_it_imports_and_nothing_else():
    tree = ast.parse(Path(raysplit.contracts.__file__).read_text(encoding="utf-8"))
    imported = {alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert set(raysplit.contracts.__all__) == imported
    documented = set(re.findall(r"``(\w+)``", raysplit.contracts.__doc__))
    assert documented - imported == {"raysplit"}


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "how-to").glob("*.md"))]
SCENARIOS = sorted((ROOT / "scenarios").rglob("*.py"))


def own_imports(source: str) -> dict[str, set[str]]:
    """module → names, of what a scenario imports of RaySplit."""
    found: dict[str, set[str]] = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "raysplit":
            found.setdefault(node.module, set()).update(alias.name for alias in node.names)
        elif isinstance(node, ast.Import):
            found.update({alias.name: set() for alias in node.names if alias.name.split(".")[0] == "raysplit"})
    return found


@pytest.mark.parametrize("path", [*PAGES, *SCENARIOS], ids=lambda path: str(path.relative_to(ROOT)))
def test_pages_and_scenarios_import_public_names_by_name(path):
    text = path.read_text(encoding="utf-8")
    blocks = [text] if path.suffix == ".py" else re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    for block in blocks:
        for module, names in own_imports(block).items():
            public = {"raysplit": raysplit.__all__, "raysplit.contracts": raysplit.contracts.__all__}
            assert module in public and names <= set(public[module]), f"{module}: {names}"
