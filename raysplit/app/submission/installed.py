"""What two machines have installed, and how they differ, in a sentence."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

DECIDE = ("torch", "numpy", "pyarrow", "ray")
"""Libraries that decide over a run's bits, or over whether it runs at all."""
MISSING = "missing"


def installed() -> dict[str, str]:
    """The versions here, without importing anything: Python's to the minor."""
    found = {"python": ".".join(platform.python_version_tuple()[:2])}
    for name in DECIDE:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = MISSING
    return found


def lacking(there: Mapping[str, str]) -> str | None:
    """The sentence that refuses a cluster where something is not installed; None where all is."""
    names = sorted(name for name, found in there.items() if found == MISSING)
    if not names:
        return None
    return (
        f"the cluster's Python has no {' and no '.join(names)}; install RaySplit's dependencies on every node (pip "
        "install 'raysplit' with the versions of constraints.txt), RaySplit itself is uploaded"
    )


def differences(here: Mapping[str, str], there: Mapping[str, str]) -> str | None:
    """How the cluster differs, in a sentence; None where it does not. Nothing of it stops a run: its bits are those of
    the machine that computes them."""
    other = [
        f"{name} {there.get(name, MISSING)} (here {mark})" for name, mark in here.items() if there.get(name) != mark
    ]
    if not other:
        return None
    return f"the cluster has {', '.join(other)}; digests may differ from those of a run here"
