"""What is uploaded: RaySplit as it is here, the scenario file, and the user's own modules that it imports. No data."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

import raysplit
from raysplit.app.submission.order import FILE, FOLDER, Order
from raysplit.parts.own_modules import own_files


@contextmanager
def packed(order: Order, module: ModuleType) -> Iterator[Path]:
    """The folder to upload, for the length of a ``with``.

    RaySplit goes along whatever the cluster has: it is a megabyte, Ray uploads nothing that it has already, and what
    computes is then what checked the scenario.
    """
    with TemporaryDirectory(prefix="raysplit-submit-") as scratch:
        folder = Path(scratch)
        shutil.copytree(
            Path(raysplit.__file__).parent, folder / "raysplit", ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
        )
        for name, data in own_files(module).items():
            # A module lies beside the scenario file, as it does here; "modules/" is where a run folder keeps it.
            place = order.file if name == "scenario.py" else name.removeprefix("modules/")
            (folder / FOLDER / place).parent.mkdir(parents=True, exist_ok=True)
            (folder / FOLDER / place).write_bytes(data)
        (folder / FOLDER / FILE).write_text(order.to_json())
        yield folder
