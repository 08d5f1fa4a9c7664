"""What is kept of an inference: ``inference/<attack>-<hash>/`` in the run folder.

``inference.json``: attack, adversary, setup and scores; ``reconstructions.arrow``: a row a sample; ``images.png``: the
true images above the reconstructed ones, where inputs were attacked; generated ones below honest ones, where samples
were made.
"""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from PIL import Image

from raysplit.analysis.inference.infer import Inference
from raysplit.analysis.inference.oracle import is_above_oracle
from raysplit.errors import RunError
from raysplit.parts.canonical import to_json
from raysplit.storage.atomic import write_bytes, write_json

_SCALE, _GAP, _COLUMNS = 3, 2, 10
_NOT_NAMED = ("scores", "seconds", "chosen", "above_oracle", "asked")
"""What of a record its folder's name leaves out: results, and what was asked where the rest says what there was."""


def record_of(inference: Inference) -> dict[str, Any]:
    """Everything but the images, as JSON."""
    setup, oracle = inference.setup, inference.oracle
    oracle_asked = {} if oracle is None else {"oracle": to_json(oracle), "above_oracle": is_above_oracle(inference)}
    return {
        "attack": to_json(inference.attack),
        "adversary": {"parties": list(inference.adversary.parties), "assumed": list(inference.adversary.knows)},
        "reads": sorted(channel.value for channel in inference.attack.reads),
        "needs": sorted(inference.attack.needs),
        "round": setup.round,
        "samples": len(inference.victims),
        "client": setup.client,
        "auxiliary": 0 if inference.target.auxiliary is None else len(inference.target.auxiliary.y),
        "queries": inference.found.queries,
        "known_labels": inference.told,
        "seconds": inference.seconds,
        "asked": {"samples": setup.samples, "auxiliary": setup.auxiliary, "queries": setup.queries},
        **oracle_asked,
        "chosen": inference.found.chosen,
        "scores": [{"of": s.of, "metric": s.metric, "value": s.value} for s in inference.scores],
    }


def folder_of(inference: Inference, folder: Path) -> Path:
    """Where an inference belongs under ``folder``, a run's ``inference``: the same attack and setup in the same place."""
    record = record_of(inference)
    what = {name: value for name, value in record.items() if name not in _NOT_NAMED}
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:8]
    return folder / f"{type(inference.attack).__name__}-{digest}"


def write_inference(inference: Inference, folder: Path) -> Path:
    """Write an inference under ``folder``, a run's ``inference``. Raises ``RunError`` where it cannot be written."""
    path = folder_of(inference, folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        write_bytes(path / "reconstructions.arrow", _table(inference))
        if inference.found.inputs is not None and inference.victims.x.shape[1] in (1, 3):
            write_bytes(path / "images.png", grid_png(inference.victims.x, inference.found.inputs, inference))
        if inference.found.samples is not None and inference.victims.x.shape[1] in (1, 3):
            write_bytes(path / "images.png", samples_png(inference.found.samples, inference))
        write_json(path / "inference.json", record_of(inference))  # last: whoever finds it finds the rest
    except OSError as error:
        raise RunError(f"{path} cannot be written ({error.strerror or error}); free some space") from error
    return path


def _table(inference: Inference) -> bytes:
    victims, found = inference.victims, inference.found
    columns: dict[str, Any] = {"client": victims.clients.numpy(), "label": victims.y.numpy()}
    if found.labels is not None:
        columns["inferred_label"] = found.labels.numpy()
    if victims.members is not None:
        columns["member"] = victims.members.numpy()
    if found.membership_scores is not None:
        columns["membership_score"] = found.membership_scores.detach().numpy()
    if found.positive_scores is not None:
        columns["positive_score"] = found.positive_scores.detach().numpy()
    if found.inputs is not None:
        columns["squared_error"] = (found.inputs - victims.x).square().flatten(1).mean(1).double().numpy()
        columns["inferred_input"] = list(found.inputs.detach().flatten(1).numpy())
    sink = io.BytesIO()
    table = pa.table(columns)
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def grid_png(truth: torch.Tensor, found: torch.Tensor, inference: Inference) -> bytes:
    """Images [n, C, H, W] in pairs of rows, at most ten columns: the true ones above, what was found of them below."""
    low, high = inference.target.low, inference.target.high
    truth, found = (((x.detach() - low) / (high - low)).clamp(0, 1) for x in (truth, found))
    n, channels, height, width = truth.shape
    columns, rows = min(n, _COLUMNS), -(-n // _COLUMNS)
    sheet = torch.ones(channels, rows * (2 * height + 2 * _GAP), columns * (width + _GAP))
    for index in range(n):
        top, left = index // _COLUMNS * (2 * height + 2 * _GAP), index % _COLUMNS * (width + _GAP)
        sheet[:, top : top + height, left : left + width] = truth[index]
        sheet[:, top + height : top + 2 * height, left : left + width] = found[index]
    return _png(sheet)


def samples_png(samples: torch.Tensor, inference: Inference) -> bytes:
    """Images [m, C, H, W], at most ten a row; in the first row honest ones of the class, where any are known."""
    low, high, auxiliary = inference.target.low, inference.target.high, inference.target.auxiliary
    honest = samples[:0] if auxiliary is None else auxiliary.x[auxiliary.y == inference.found.samples_of][:_COLUMNS]
    m, channels, height, width = samples.shape
    columns, above = min(m, _COLUMNS), 1 if len(honest) else 0
    sheet = torch.ones(channels, (above + -(-m // _COLUMNS)) * (height + _GAP), columns * (width + _GAP))
    places = [*((0, column, x) for column, x in enumerate(honest[:columns]))]
    places += [(above + index // _COLUMNS, index % _COLUMNS, x) for index, x in enumerate(samples)]
    for row, column, x in places:
        top, left = row * (height + _GAP), column * (width + _GAP)
        sheet[:, top : top + height, left : left + width] = ((x.detach() - low) / (high - low)).clamp(0, 1)
    return _png(sheet)


def _png(sheet: torch.Tensor) -> bytes:
    """A picture [C, H, W] of values in [0, 1], enlarged."""
    pixels = (sheet * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    picture = Image.fromarray(pixels[..., 0] if len(sheet) == 1 else pixels)
    scaled = picture.resize((picture.width * _SCALE, picture.height * _SCALE), Image.Resampling.NEAREST)
    sink = io.BytesIO()
    scaled.save(sink, format="PNG")
    return sink.getvalue()
