"""The package as pip installs it, in environments of its own that borrow torch and the rest from this one."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

import raysplit

pytest.importorskip("setuptools")
pytestmark = pytest.mark.slow
ROOT = Path(raysplit.__file__).parents[1]
OFFLINE = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check"]


def command(*arguments: str | Path, cwd: Path) -> str:
    answer = subprocess.run([str(part) for part in arguments], cwd=cwd, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository in a folder that is called raysplit."""
    clone = tmp_path_factory.mktemp("parent") / "raysplit"
    clone.mkdir()
    for name in ("raysplit", "data_prep"):
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, clone / name)
    return clone


def environment(folder: Path) -> Path:
    """The Python of a new environment in ``folder`` that sees this one's packages, but none of its editable installs.

    A folder that a ``.pth`` file names is searched for packages; ``.pth`` files in it are not read.
    """
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    own = command(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    (Path(own) / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def test_an_editable_install_is_found_from_beside_a_clone_that_is_called_raysplit(clone, tmp_path):
    python = environment(tmp_path / "venv")
    command(python, "-m", "pip", "install", *OFFLINE, "-e", clone, cwd=tmp_path)
    code = "import raysplit; from raysplit import Scenario; print(raysplit.__file__)"
    for beside in (clone.parent, clone, tmp_path):
        found = command(python, "-c", code, cwd=beside)
        assert Path(found.strip()) == clone / "raysplit" / "__init__.py"


def test_a_wheel_has_the_types_and_the_command(clone, tmp_path):
    command(sys.executable, "-m", "pip", "wheel", *OFFLINE, "--wheel-dir", tmp_path, clone, cwd=tmp_path)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        names = set(files.namelist())
        [entry] = [name for name in names if name.endswith("entry_points.txt")]
        assert "raysplit = raysplit.app.cli:main" in files.read(entry).decode()
    assert {"raysplit/py.typed", "raysplit/__init__.pyi", "raysplit/contracts.py"} <= names
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "raysplit").rglob("*.py")}
    assert modules <= names
