"""Contracts: what a component leaves out has the contract's default, and what it misspells is an error."""

from abc import abstractmethod
from typing import ClassVar

import pytest

from raysplit.aggregation.rule import GeometryRule
from raysplit.aggregation.update_attack import UpdateAttack, updates_threat
from raysplit.attacks.data.data_attack import DataAttack
from raysplit.attacks.messages.message_attack import MessageAttack
from raysplit.defenses.detection.detection import Screen
from raysplit.errors import ScenarioError
from raysplit.models.network import ModelSpec
from raysplit.parts.contract import answer, contract
from raysplit.parts.part import part
from raysplit.protocols.protocol import TrainingProtocol


@contract("a toy", also=("sings",))
class Toy:
    @answer
    @abstractmethod
    def colour(self) -> str: ...

    @answer
    def wheels(self) -> int:
        return 4

    def roll(self) -> int:
        return 2 * self.wheels


@part
class Red(Toy):
    colour: ClassVar[str] = "red"


@part
class Painted(Toy):
    """A field without a default answers too."""

    colour: str
    wheels: int = 3


def test_what_is_left_out_has_the_default_and_what_is_given_counts():
    assert (Red().colour, Red().wheels, Red().roll()) == ("red", 4, 8)
    painted = Painted("blue")
    assert (painted.colour, painted.wheels, painted.roll()) == ("blue", 3, 6)
    with pytest.raises(TypeError, match=r"colour"):
        Painted()


@pytest.mark.parametrize("name", ["wheel", "weels", "wheels_", "rolls"])
def test_a_name_that_is_nearly_an_answer_is_refused(name):
    cls = type("Mine", (Toy,), {"colour": "red", name: 1})
    with pytest.raises(ScenarioError, match=f"Mine declares '{name}', which is no answer of a toy; did you mean '"):
        part(cls)


def test_optional_methods_are_guarded_too():
    with pytest.raises(ScenarioError, match=r"Mine declares 'singss', .*did you mean 'sings'"):
        part(type("Mine", (Toy,), {"colour": "red", "singss": 1}))
    part(type("Mine", (Toy,), {"colour": "red", "sings": 1}))


def test_a_name_beside_the_answer_that_it_resembles_is_nobodys_mistake():
    part(type("Mine", (Toy,), {"colour": "red", "colours": ("red",), "wheels": 2, "wheels_": 3}))


def test_private_and_quite_different_names_are_free():
    part(type("Mine", (Toy,), {"colour": "red", "_wheel": 1, "price": 2}))


def test_an_answer_without_a_default_must_be_given():
    with pytest.raises(ScenarioError, match=r"^Mine does not answer 'colour', which a toy must; declare it$"):
        part(type("Mine", (Toy,), {}))


@pytest.mark.parametrize(
    ("base", "answers", "misspelt", "meant", "kind"),
    [
        (TrainingProtocol, {}, "cleint_state", "client_state", "a protocol"),
        (ModelSpec, {}, "read_bytes", "reads_bytes", "a model"),
        (Screen, {}, "need_labels", "needs_labels", "a screen"),
        (DataAttack, {}, "atempts", "attempts", "an attack on training data"),
        (MessageAttack, {}, "change_labels", "changes_labels", "an attack on messages"),
        (UpdateAttack, {"threat_model": updates_threat("full")}, "start_rounds", "start_round", "an attack on updates"),
        (GeometryRule, {}, "column_wise", "columnwise", "an aggregation rule"),
    ],
)
def test_every_kind_of_component_guards_its_answers(base, answers, misspelt, meant, kind):
    sentence = f"Mine declares '{misspelt}', which is no answer of {kind}; did you mean '{meant}'?"
    with pytest.raises(ScenarioError) as caught:
        part(type("Mine", (base,), {**answers, misspelt: True}))
    assert str(caught.value) == sentence
