"""What is kept of a certification: ``certification/<hash of the setup>/`` in the run folder.

``certification.arrow``: a row a sample; ``certification.json``: the noise, the setup and the accuracies.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from raysplit.analysis.certification.certify import Certification
from raysplit.analysis.certification.guarantee import PROTECTS
from raysplit.errors import RunError
from raysplit.storage.atomic import write_bytes, write_json


def _column(name: str, kind: pa.DataType, unit: str, description: str, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"unit": unit, "description": description})


SCHEMA = pa.schema(
    [
        _column("client", pa.int64(), "client", "whose test sample"),
        _column("index", pa.int64(), "sample", "its number in the client's test set"),
        _column("label", pa.int64(), "class", "its label"),
        _column("predicted", pa.int64(), "class", "by the mean score over the draws"),
        _column("correct", pa.bool_(), "", "whether that is the label"),
        _column("low", pa.float64(), "fraction", "lower bound of the predicted class's expected score"),
        _column("high", pa.float64(), "fraction", "upper bound of every other class's"),
        _column("pixeldp_epsilon", pa.float64(), "nat", f"of the noise at its attack bound: about {PROTECTS}"),
        _column(
            "pixeldp_radius", pa.float64(), "input", "by (epsilon, delta): no smaller change alters the prediction"
        ),
        _column("smoothing_radius", pa.float64(), "input", "by randomised smoothing; Gaussian noise only", True),
        _column("attack_radius", pa.float64(), "input", "tried, in the noise's norm; none: not attacked", True),
        _column("flipped", pa.bool_(), "", "whether the attack changed the prediction", True),
    ]
)


def record_of(found: Certification, radii: Sequence[float]) -> dict[str, Any]:
    """Everything but the samples, as JSON."""
    model, setup = found.model, found.setup
    gaussian = model.mechanism == "gaussian"
    return {
        "mechanism": model.mechanism,
        "noise_after": model.after or "input",
        "pixeldp_epsilon": model.epsilon,
        "pixeldp_delta": model.delta if gaussian else 0.0,
        "pixeldp_epsilon_is_about": PROTECTS,
        "attack_bound": model.bound,
        "noise_norm": model.norm,
        "sensitivity": found.sensitivity,
        "radius_norm": "inf" if found.norm == float("inf") else found.norm,
        "setup": {**dataclasses.asdict(setup), "norm": str(found.norm)},
        "samples": len(found.samples),
        "accuracy": found.accuracy,
        "certified": [
            {
                "radius": radius,
                "pixeldp": found.certified_accuracy(radius),
                "smoothing": found.certified_accuracy(radius, smoothing=True) if gaussian else None,
            }
            for radius in radii
        ],
        "attacked": found.attacked,
        "flipped": found.flipped,
        "seconds": found.seconds,
    }


def write_certification(found: Certification, radii: Sequence[float], folder: Path) -> Path:
    """Write it under ``folder``, a run's ``certification``. Raises ``RunError`` where it cannot be written."""
    setup = json.dumps({**dataclasses.asdict(found.setup), "norm": str(found.norm)}, sort_keys=True)
    path = folder / hashlib.sha256(setup.encode()).hexdigest()[:8]
    try:
        path.mkdir(parents=True, exist_ok=True)
        write_bytes(path / "certification.arrow", _table(found))
        write_json(path / "certification.json", record_of(found, radii))  # last: whoever finds it finds the rest
    except OSError as error:
        raise RunError(f"{path} cannot be written ({error.strerror or error}); free some space") from error
    return path


def _table(found: Certification) -> bytes:
    rows = [
        {**dataclasses.asdict(sample), "correct": sample.correct, "pixeldp_epsilon": found.model.epsilon}
        for sample in found.samples
    ]
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()
