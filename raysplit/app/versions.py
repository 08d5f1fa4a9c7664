"""What ``raysplit --version`` prints: the version, and those of what decides over a run's bits and speed."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import raysplit


def versions() -> str:
    """``raysplit 0.1.0 (Python 3.11.2, torch 2.9.0, ray 2.51.0)``, without importing them."""
    found = [f"Python {platform.python_version()}", *(f"{name} {_version(name)}" for name in ("torch", "ray"))]
    return f"raysplit {raysplit.__version__} ({', '.join(found)})"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"
