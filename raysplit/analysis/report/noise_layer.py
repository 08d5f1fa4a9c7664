"""The noise layer of a run's network, with what its ε is about."""

from __future__ import annotations

from collections.abc import Mapping

from raysplit.analysis.certification.guarantee import PROTECTS
from raysplit.analysis.report.markup import definitions, paragraph
from raysplit.analysis.report.pairs import plain, type_name
from raysplit.analysis.runs.run import Run


def noise_layer_section(run: Run) -> str:
    """HTML; empty where the network has none."""
    model = run.scenario.get("model")
    if not isinstance(model, Mapping) or type_name(model) != "PixelDp":
        return ""
    bounded = model.get("sensitivity") == "bounded"
    gaussian = model.get("mechanism") == "gaussian"
    facts = [
        ("Network", type_name(model.get("model"))),
        ("Noise", f"{model.get('mechanism')}, after {model.get('after') or 'the input'}"),
        ("PixelDP ε", plain(model.get("epsilon"))),
        ("PixelDP δ", plain(model.get("delta")) if gaussian else ""),
        ("About", PROTECTS),
        ("Changes up to", f"{plain(model.get('bound'))} in norm {plain(model.get('norm'))}" if bounded else ""),
        ("Prediction", f"mean over {plain(model.get('draws'))} draws of the noise"),
    ]
    note = "" if bounded else paragraph("The sensitivity was measured, so nothing is guaranteed.", "note")
    return "<h3>Noise layer (PixelDP)</h3>\n" + definitions(facts) + note
