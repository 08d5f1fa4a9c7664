"""docs/models.md says what the models are."""

import importlib.util
from pathlib import Path

import raysplit
from raysplit.models.overview import maker_names

TOOL = Path(__file__).resolve().parents[2] / "tools" / "models_page.py"


def tool():
    spec = importlib.util.spec_from_file_location("models_page", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_is_what_the_models_say():
    page = tool()
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.with_table(text, page.table()) == text, "run python tools/models_page.py"


def test_every_model_that_raysplit_offers_is_on_the_page():
    text = tool().PAGE.read_text(encoding="utf-8")
    missing = [name for name in [*maker_names(), "sequential"] if f"`{name}(" not in text and f"**`{name}(" not in text]
    assert not missing
    assert all(callable(getattr(raysplit, name)) for name in maker_names())
