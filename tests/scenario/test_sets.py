"""``--set`` overrides and ``--only``: what a text means, in whatever order."""

import itertools
from pathlib import Path
from types import ModuleType

import pytest

from raysplit import (
    PHONE,
    Bucketing,
    Composed,
    Devices,
    Evaluation,
    Krum,
    LogNormalDevices,
    Median,
    SignFlip,
    SplitFedV1,
    SplitFedV2,
    part,
)
from raysplit.aggregation.rules.mean import Mean
from raysplit.errors import ScenarioError
from raysplit.population.selection.cohort import Cohort
from raysplit.scenario.choice import chosen
from raysplit.scenario.sets import apply_sets
from tests.toys import toy

BASE = toy(SplitFedV2())
"""Four rounds, cohorts of at most six."""


@pytest.mark.parametrize(
    "sets",
    [
        # Each is refused if the first is checked before the second is applied.
        ("cohort.malicious=0.5", "attack=SignFlip(scale=10.0, start_round=9)", "training.rounds=12"),
        ("attack.start_round=9", "attack=SignFlip(scale=3.0)", "cohort.malicious=0.5", "training.rounds=9"),
        ("defense.f=2", "defense=TrimmedMean", "cohort.size=6", "cohort.malicious=0.5"),
    ],
)
def test_the_order_of_overrides_does_not_matter(sets):
    found = {apply_sets(BASE, order).hash for order in itertools.permutations(sets)}
    assert len(found) == 1 and found != {BASE.hash}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("attack=SignFlip(scale=10.0)", SignFlip(scale=10.0)),
        ("attack=SignFlip", SignFlip()),
        ("attack=None", None),
        ("defense=Composed(pre=(Bucketing(size=2),), rule=Median())", Composed((Bucketing(size=2),), Median())),
        ("defense=Krum", Krum()),
        ("protocol=SplitFedV1()", SplitFedV1()),
        ("evaluation=Evaluation(every=2, clients=5)", Evaluation(every=2, clients=5)),
        ("devices=Devices(clients=LogNormalDevices(median=PHONE))", Devices(clients=LogNormalDevices(PHONE))),
        ("name=Krum", "Krum"),
        ("pixels=inverted", "inverted"),
        ("cohort.of=cohort", "cohort"),
        ("training.lr=1e-3", 0.001),
    ],
)
def test_a_value_is_a_literal_a_part_or_a_text(text, value):
    base = BASE.replace(cohort=Cohort(size=6, malicious=0.5)) if "attack" in text else BASE
    field = apply_sets(base, [text])
    for name in text.partition("=")[0].split("."):
        field = getattr(field, name)
    assert field == value


def test_parts_of_the_scenario_file_can_be_named_too():
    @part
    class Mine(Mean):
        """A rule of the user's own."""

        strength: float = 1.0

    module = ModuleType("mine")
    module.Mine = Mine
    assert apply_sets(BASE, ["defense=Mine(strength=2.0)"], module).defense == Mine(strength=2.0)


@pytest.mark.parametrize(
    ("sets", "sentence"),
    [
        (["attack=SignFlop(scale=1.0)"], "--set knows no 'SignFlop'; did you mean 'SignFlip'?"),
        (["attack=SignFlop"], "--set knows no 'SignFlop'; did you mean 'SignFlip'?"),
        (["attack=SignFlip(10.0)"], "--set: name the arguments of 'SignFlip(10.0)', as in 'TrimmedMean(f=2)'"),
        (["attack=SignFlip(size=1)"], "--set: SignFlip has no option 'size'; choose from 'scale', 'start_round'"),
        (["attack=open('x')"], "--set knows no 'open'"),
        (["training.rounds=many"], "Training.rounds must be a whole number, but it is 'many' (str)"),
        (["seed=1", "seed=2"], "--set gives seed two values, 1 and 2; leave one of them out"),
        (["attack.scale=2.0"], "'attack.scale' cannot be set: None has no parts"),
    ],
)
def test_a_mistake_is_one_sentence(sets, sentence):
    with pytest.raises(ScenarioError) as refused:
        apply_sets(BASE, sets)
    assert sentence in str(refused.value)


def test_only_takes_names_and_patterns(tmp_path: Path):
    many = [BASE.replace(name=name) for name in ("V1-clean", "V1-flip", "V2-clean", "V2-flip")]
    file = tmp_path / "four.py"
    assert chosen(many, None, file) == many
    assert [one.name for one in chosen(many, ["*-clean"], file)] == ["V1-clean", "V2-clean"]
    assert [one.name for one in chosen(many, ["V2-flip", "V1-[c]*"], file)] == ["V1-clean", "V2-flip"]
    with pytest.raises(ScenarioError, match=r"four.py has no scenario 'V3-\*'; choose from 'V1-clean', "):
        chosen(many, ["V3-*"], file)
