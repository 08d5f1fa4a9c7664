"""What ``raysplit model NAME`` says: a model's stages, what crosses the wire after each, and how much of the model the
client has."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

import raysplit
from raysplit.errors import ScenarioError, nearest
from raysplit.models.describe import StageFacts, describe
from raysplit.models.network import ModelSpec, check_cut

_FLOAT_BYTES = torch.finfo(torch.float32).bits // 8


@dataclass(frozen=True)
class CutFacts:
    """The model cut after ``stage``. Parameters, buffers and FLOPs are the client's so far; shares are of the whole, 0
    to 1.

    ``smashed`` floats per sample cross the wire each way, ``smashed_bytes`` in float32. ``names``: the papers' names of
    this cut.
    """

    stage: StageFacts
    names: tuple[str, ...]
    parameters: int
    buffers: int
    flops: int
    smashed: int
    smashed_bytes: int
    parameter_share: float
    flop_share: float


def cut_facts(spec: ModelSpec) -> list[CutFacts]:
    """One row a stage, in order; the last row is the whole model."""
    stages = describe(spec)
    parameters, flops = sum(s.parameters for s in stages), sum(s.flops for s in stages)
    rows = []
    for count, stage in enumerate(stages, 1):
        head = stages[:count]
        head_parameters, head_flops = sum(s.parameters for s in head), sum(s.flops for s in head)
        rows.append(
            CutFacts(
                stage,
                tuple(name for name, after in spec.cuts.items() if after == stage.name),
                head_parameters,
                sum(s.buffers for s in head),
                head_flops,
                stage.smashed,
                stage.smashed * _FLOAT_BYTES,
                head_parameters / parameters if parameters else 0.0,
                head_flops / flops if flops else 0.0,
            )
        )
    return rows


def model_named(name: str, sets: Sequence[str] = (), cut: str | None = None) -> ModelSpec:
    """The model that a maker function of RaySplit gives; ``sets`` are its arguments as ``"classes=10"``.

    Raises ``ScenarioError`` for an unknown name, argument, value or cut.
    """
    makers = maker_names()
    if name not in makers:
        raise ScenarioError(f"there is no model {name!r}; {nearest(name, makers)}")
    maker = getattr(raysplit, name)
    arguments: dict[str, Any] = {}
    signature = inspect.signature(maker)
    free = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    for text in sets:
        option, equals, value = text.partition("=")
        if not equals:
            raise ScenarioError(f"--set {text!r} is not of the form name=value, such as classes=10")
        if option not in signature.parameters and not free:
            raise ScenarioError(f"{name} has no option {option!r}; {nearest(option, signature.parameters)}")
        arguments[option] = _literal(value)
    if cut is not None:
        arguments["cut"] = cut
    missing = [p.name for p in signature.parameters.values() if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    missing = [option for option in missing if option not in arguments]
    if missing:
        raise ScenarioError(f"{name} needs {', '.join(f'--set {option}=…' for option in missing)}")
    spec: ModelSpec = maker(**arguments)
    if spec.cut is not None:
        check_cut(spec, split=True, u_shaped=spec.tail is not None)
    return spec


def maker_names() -> list[str]:
    """The functions of RaySplit that make models and can be called from a command line."""
    public = [name for home, names in raysplit.HOMES.items() if home.startswith("raysplit.models.") for name in names]
    return sorted(name for name in public if name.islower() and name != "sequential")


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def to_json(name: str, spec: ModelSpec) -> dict[str, Any]:
    """The table as plain values."""
    return {
        "model": name,
        "kind": type(spec).__name__,
        "input_shape": list(spec.input_shape),
        "classes": spec.classes,
        "cut": None if spec.cut is None else cut_stage(spec),
        "stages": [
            {
                "stage": row.stage.name,
                "cuts": list(row.names),
                "shape": list(row.stage.shape),
                "parameters": row.stage.parameters,
                "buffers": row.stage.buffers,
                "flops": row.stage.flops,
                "client_parameters": row.parameters,
                "client_buffers": row.buffers,
                "client_flops": row.flops,
                "client_parameter_share": row.parameter_share,
                "client_flop_share": row.flop_share,
                "smashed_floats": row.smashed,
                "smashed_bytes": row.smashed_bytes,
            }
            for row in cut_facts(spec)
        ],
    }


def cut_stage(spec: ModelSpec) -> str:
    """The stage after which the model is cut."""
    cuts: Mapping[str, str] = spec.cuts
    return cuts.get(spec.cut or "", spec.cut or "")


def show(name: str, spec: ModelSpec, as_json: bool) -> None:
    """Print the table, or one JSON object."""
    if as_json:
        import json

        print(json.dumps(to_json(name, spec)))
        return
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table

    rows = cut_facts(spec)
    title = (
        f"{name}: {rows[-1].parameters:,} parameters, {_short(rows[-1].flops)}FLOP a sample forward, input "
        f"{_shape(spec.input_shape)}"
    )
    table = Table(
        title=title, title_justify="left", caption="cumulative: what the client has when the model is cut here"
    )
    for heading in ("stage", "cut", "output"):
        table.add_column(heading, no_wrap=True)
    for heading in ("parameters", "cumulative", "%", "buffers", "forward\nFLOP", "%", "smashed", "bytes"):
        table.add_column(heading, justify="right", no_wrap=True)
    chosen = cut_stage(spec) if spec.cut is not None else None
    for row in rows:
        stage = row.stage
        table.add_row(
            *(stage.name, ", ".join(row.names), _shape(stage.shape), f"{stage.parameters:,}", f"{row.parameters:,}"),
            *(f"{100 * row.parameter_share:.1f}", f"{stage.buffers:,}", _short(stage.flops)),
            *(f"{100 * row.flop_share:.1f}", f"{row.smashed:,}", f"{row.smashed_bytes:,}"),
            style="bold" if stage.name == chosen else None,
            end_section=stage.name == chosen,
        )
    wide = Console(width=10_000)
    natural = Measurement.get(wide, wide.options, table).maximum
    Console(width=max(Console().width, natural), highlight=False).print(table, crop=False)  # whole names and numbers


def _shape(shape: Sequence[int]) -> str:
    return "×".join(str(size) for size in shape)


def _short(count: int) -> str:
    """12,345,678 → "12.3 M"."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} "
