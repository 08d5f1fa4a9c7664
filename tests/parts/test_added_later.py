"""Fields that a later version adds."""

from typing import Any

from raysplit.parts.canonical import added_later, to_json
from raysplit.parts.part import part


def released(fields: dict[str, Any], **values: Any) -> Any:
    """A part of RaySplit's own with those fields, each a type or a pair of type and default."""
    body: dict[str, Any] = {
        "__annotations__": {name: kind[0] if isinstance(kind, tuple) else kind for name, kind in fields.items()},
        "__module__": "raysplit.training.settings",
    }
    body |= {name: kind[1] for name, kind in fields.items() if isinstance(kind, tuple)}
    return part(type("Rule", (), body))(**values)


def test_a_field_that_was_added_later_leaves_the_form_as_it_was_while_it_has_its_default():
    before = released({"trim": int}, trim=3)
    after = released({"trim": int, "by": (str, added_later("column"))}, trim=3)
    changed = released({"trim": int, "by": (str, added_later("column"))}, trim=3, by="row")
    assert to_json(before) == to_json(after) == {"type": "Rule", "trim": 3}
    assert to_json(changed) == {"type": "Rule", "trim": 3, "by": "row"}


def test_a_default_that_is_equal_but_of_another_type_is_not_the_default():
    later = {"trim": int, "by": (bool | int, added_later(True))}
    assert "by" not in to_json(released(later, trim=3))
    assert to_json(released(later, trim=3, by=1))["by"] == 1


def test_other_fields_are_in_the_form_even_with_their_defaults():
    assert to_json(released({"trim": (int, 3)})) == {"type": "Rule", "trim": 3}


def test_a_field_that_was_added_later_has_its_default_in_the_part():
    assert released({"trim": int, "by": (str, added_later("column"))}, trim=3).by == "column"
