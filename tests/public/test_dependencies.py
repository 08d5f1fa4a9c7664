"""What is pinned, and what pip may take instead, is none of the releases that are known to be vulnerable."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).parents[2]


def table() -> list[tuple[Requirement, str]]:
    """Vulnerable releases, and why."""
    lines = (ROOT / ".ci" / "known-vulnerable.txt").read_text().splitlines()
    rows = [line.split(None, 1) for line in lines if line and not line.startswith("#")]
    return [(Requirement(requirement), why) for requirement, why in rows]


def pinned() -> dict[str, Version]:
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^;\s]+)", (ROOT / "constraints.txt").read_text(), re.M)
    return {canonicalize_name(name): Version(version) for name, version in found}


def lowest() -> list[tuple[Requirement, Version]]:
    """Every requirement of pyproject.toml that has a lower bound, and that bound."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    texts = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    texts += [text for extra in project["project"]["optional-dependencies"].values() for text in extra]
    found = [(Requirement(text), spec) for text in texts for spec in Requirement(text).specifier]
    return [(requirement, Version(spec.version)) for requirement, spec in found if spec.operator == ">="]


def reasons(name: str, extras: set[str], version: Version) -> list[str]:
    """Why a release of ``name``, installed with ``extras``, is known to be vulnerable."""
    return [
        f"{name} {version}: {why}"
        for bad, why in table()
        if canonicalize_name(bad.name) == name and bad.extras <= extras and version in bad.specifier
    ]


def test_no_pinned_release_is_known_to_be_vulnerable() -> None:
    extras = {extra for bad, _ in table() for extra in bad.extras}
    assert len(pinned()) > 60
    assert not [why for name, version in pinned().items() for why in reasons(name, extras, version)]


def test_no_lower_bound_lets_a_vulnerable_release_in() -> None:
    assert len(lowest()) > 12
    assert not [
        why for need, version in lowest() for why in reasons(canonicalize_name(need.name), need.extras, version)
    ]


def test_the_table_sees_what_it_names() -> None:
    assert reasons("torch", set(), Version("2.5.1")) and not reasons("torch", set(), Version("2.6.0"))
    assert reasons("ray", {"default"}, Version("2.40")), "with the dashboard"
    assert not reasons("ray", set(), Version("2.40")), "our own clusters have none"
