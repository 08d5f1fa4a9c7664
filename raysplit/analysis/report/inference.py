"""What was inferred from a run, in the report: who attacked with what, scores beside guesses, and the images."""

from __future__ import annotations

from typing import Any

from raysplit.analysis.report.markup import bitmap, definitions, paragraph, table
from raysplit.analysis.report.numbers import NONE, count, seconds, significant
from raysplit.analysis.report.pairs import flatten, plain, type_name
from raysplit.analysis.runs.run import Run
from raysplit.storage.inferences import InferenceRecord, read_inferences
from raysplit.storage.run_folder import RunFolder


def inference_section(run: Run) -> str:
    """HTML; empty where nothing was inferred."""
    found = read_inferences(RunFolder(run.path).inference)
    if not found:
        return ""
    lead = paragraph(
        "What an adversary made of the messages that it saw (raysplit infer). Guesses saw no message: what an attack "
        "does not do better than they has leaked nothing."
    )
    return "<h3>Inference</h3>\n" + lead + "".join(_one(inference) for inference in found)


def _one(inference: InferenceRecord) -> str:
    record = inference.record
    settings = ", ".join(f"{k}={plain(v)}" for k, v in flatten(record["attack"]).items() if k not in ("type", "goal"))
    name = type_name(record["attack"])
    adversary = record["adversary"]
    facts = [
        ("Attack", f"{name} ({settings})"),
        ("By", " and ".join(adversary["parties"])),
        ("Reads", ", ".join(record["reads"]) or "no channel"),
        ("Assumed", ", ".join(adversary["assumed"]) or "nothing"),
        ("Against", "the trained model in use" if record["round"] is None else f"round {count(record['round'])}"),
        ("Samples", f"{count(record['samples'])}; compared with {count(record['auxiliary'])} others"),
        ("Queries", count(record["queries"]) if record["queries"] else ""),
        ("Time", seconds(record["seconds"])),
        ("Chosen", record.get("chosen", "")),
        ("Above the oracle", "yes" if record.get("above_oracle") else ""),
    ]
    image = inference.path / "images.png"
    shown = (
        bitmap(image.read_bytes(), f"{name}: the true images above, reconstructed ones below") if image.exists() else ""
    )
    return definitions(facts) + _scores(record["scores"]) + shown


def _scores(scores: list[dict[str, Any]]) -> str:
    metrics = list(dict.fromkeys(score["metric"] for score in scores))
    names = list(dict.fromkeys(score["of"] for score in scores))
    values = {(score["of"], score["metric"]): score["value"] for score in scores}
    rows = [
        [name, *(significant(values[name, metric]) if (name, metric) in values else NONE for metric in metrics)]
        for name in names
    ]
    return table([("Found by", ""), *((metric, "") for metric in metrics)], rows)
