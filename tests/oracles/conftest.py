"""ByzFL 0.0.11 (MIT) as an oracle."""

import importlib
import importlib.util
import sys
import types
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def byzfl():
    """ByzFL's rules and pre-aggregations, without its package __init__, which would import plotting libraries."""
    spec = importlib.util.find_spec("byzfl")
    if spec is None or spec.origin is None:
        pytest.skip("byzfl is not installed (pip install --no-deps byzfl)")
    package = types.ModuleType("byzfl")
    package.__path__ = [str(Path(spec.origin).parent)]
    before = set(sys.modules)
    sys.modules["byzfl"] = package
    try:
        rules = importlib.import_module("byzfl.aggregators.aggregators")
        mixers = importlib.import_module("byzfl.aggregators.preaggregators")
        attacks = importlib.import_module("byzfl.attacks.attacks")
        yield types.SimpleNamespace(**{**vars(mixers), **vars(rules)}, attacks=attacks)
    finally:
        for name in set(sys.modules) - before:
            if name.split(".")[0] == "byzfl":
                del sys.modules[name]


@pytest.fixture(scope="module")
def byzfl_attacks(byzfl):
    """ByzFL's attacks; some have a rule's name."""
    return byzfl.attacks
