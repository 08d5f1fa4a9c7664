"""The examples in the docstrings of aggregation rules and of attacks on updates are true, and every one has one."""

import doctest
import importlib
import re

import pytest

from raysplit.analysis.matrix.parts import named_in

PARTS = {**named_in("aggregation.rules"), **named_in("attacks.updates")}


@pytest.mark.parametrize("name", sorted(PARTS))
def test_the_example_of_a_rule_or_an_attack_is_true(name):
    cls = PARTS[name]
    examples = [found for found in doctest.DocTestFinder(recurse=False).find(cls, name, globs={}) if found.examples]
    assert examples, f"{name} has no example"
    report: list[str] = []
    results = [doctest.DocTestRunner().run(example, out=report.append) for example in examples]
    assert sum(result.failed for result in results) == 0, "".join(report)


OWN = {"Composed", "StartAtRound", "OnServerReplicas", "Clipping"}
"""What comes from no paper."""


@pytest.mark.parametrize("name", sorted(set(PARTS) - OWN))
def test_the_module_of_a_rule_or_an_attack_names_its_paper_with_the_year(name):
    assert re.search(r"\b(19|20)\d\d\b", importlib.import_module(PARTS[name].__module__).__doc__ or "")
