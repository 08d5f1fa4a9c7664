"""A table's columns as numbers to learn from, or as the names of classes and clients; the first bad cell is named.

CSV and Parquet give the same numbers, the same classes and the same order: a text that reads as a number is one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_prep.ordered import all_plain, in_order
from raysplit.errors import PopulationError

DOT = r"\."
NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
NOT_FINITE = r"[+-]?([iI][nN][fF]([iI][nN][iI][tT][yY])?)"
WHOLE_TEXT = re.compile(r"[+-]?[0-9]+")
PADDED = re.compile(r"[+-]?0[0-9].*")
"""Texts such as 01: rather names than numbers, and other ones than 1."""
TRUTHS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
EXACT = 1 << 53
"""Up to here float64 holds every whole number; what reads as this may have been the next one."""


def check_filled(table: pa.Table, names: Iterable[str], identifiers: Sequence[str], where: str) -> None:
    """Raise ``PopulationError`` for the first column of ``names`` that has a row without a value.

    NaN is no value of ``identifiers``, the columns of classes and clients; among features it is refused by its name.
    """
    for name in names:
        column = table.column(name)
        gaps = column.is_null(nan_is_null=False)
        if name in identifiers and pa.types.is_floating(column.type):
            gaps = column.is_null(nan_is_null=True)
        if pc.any(gaps).as_py():
            row = int(np.argmax(gaps.to_numpy()))
            raise PopulationError(
                f"{where} has no value in column {name!r} of row {row + 1}; fill it or leave the row out"
            )


def to_codes(column: pa.ChunkedArray, where: str, decimal: str = ".") -> tuple[np.ndarray, tuple[str, ...]]:
    """Indices into the ordered distinct values, int64 [n], and these values in words.

    Whole numbers, also as texts or with a fraction of zero, are in the order of numbers; other texts in that of texts.
    Fractions are refused, and so are numbers so large that neighbours could be one.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if not (
        pa.types.is_integer(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or is_text(kind)
    ):
        raise PopulationError(f"{where} is of type {kind}; use whole numbers or texts")
    values = column.to_pylist()
    texts = [value if isinstance(value, str) else str(value) for value in values]
    named = _names(texts, where, decimal if is_text(kind) else ".")
    ordered = in_order(named.values())
    place = {name: code for code, name in enumerate(ordered)}
    return np.array([place[named[text]] for text in texts], dtype=np.int64), tuple(ordered)


def to_numbers(column: pa.ChunkedArray, where: str, *, decimal: str, texts: bool) -> np.ndarray:
    """A column of features, float64 [n]; ``texts`` when they come from a CSV, with numbers written with ``decimal``."""
    kind = column.type
    if texts:
        values = _read_numbers(column, where, decimal)
    elif not (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
    ):
        raise PopulationError(
            f"{where} is of type {kind}, not numbers ({_short(column[0].as_py())} in row 1); name the columns to use "
            "with --feature, or make numbers of it"
        )
    else:
        values = np.asarray(pc.cast(column, pa.float64(), safe=False).to_numpy(), dtype=np.float64)
        if pa.types.is_integer(kind):
            _check_exact(np.abs(values) >= EXACT, column, where)
    if not np.isfinite(values).all():
        row = int(np.argmax(~np.isfinite(values)))
        raise PopulationError(f"{where} has {values[row]} in row {row + 1}, which is no number to learn from")
    return values


def is_text(kind: pa.DataType) -> bool:
    """True for Arrow's types of texts."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _names(texts: Sequence[str], where: str, decimal: str) -> dict[str, str]:
    """The name of each distinct text: the whole number that it is when all are numbers, otherwise itself."""
    distinct = dict.fromkeys(texts)
    if all_plain(distinct):
        return {text: text for text in distinct}
    number = re.compile(_pattern(decimal))
    if not all(number.fullmatch(text.strip()) and not PADDED.fullmatch(text.strip()) for text in distinct):
        return _texts(distinct, where)
    names: dict[str, str] = {}
    for text in distinct:
        value = float(text.strip().replace(decimal, "."))
        if not math.isfinite(value):
            wrong = "has {}, which names nothing"
        elif value != round(value):
            wrong = "holds fractions ({}), which name nothing"
        elif abs(value) > EXACT:
            wrong = "has {}, beyond 2^53, where neighbours are one"
        else:
            names[text] = str(int(value))
            continue
        cell = f"{text.strip()} in row {texts.index(text) + 1}"
        raise PopulationError(f"{where} {wrong.format(cell)}; use whole numbers or texts")
    return names


def _texts(distinct: Iterable[str], where: str) -> dict[str, str]:
    bare: dict[str, str] = {}
    for text in distinct:
        other = bare.setdefault(text.strip(), text)
        if other != text:
            raise PopulationError(f"{where} holds {other!r} and {text!r}, which differ in blanks only; make them one")
    return {text: text for text in distinct}


def _read_numbers(column: pa.ChunkedArray, where: str, decimal: str) -> np.ndarray:
    """The numbers that the texts of a CSV's column are; also true and false, as 1 and 0."""
    if set(pc.unique(column).to_pylist()) <= TRUTHS.keys():
        return np.array([TRUTHS[text] for text in column.to_pylist()], dtype=np.float64)
    trimmed = pc.utf8_trim_whitespace(column)
    good = pc.match_substring_regex(trimmed, f"^({_pattern(decimal)})$").to_numpy()
    if not good.all():
        row = int(np.argmin(good))
        raise PopulationError(_bad_cell(column[row].as_py(), row, where, decimal))
    plain = pc.replace_substring(pc.replace_substring_regex(trimmed, r"^\+", ""), decimal, ".")
    values = np.asarray(pc.cast(plain, pa.float64()).to_numpy(), dtype=np.float64)
    large = np.abs(values) >= EXACT
    if large.any():
        whole = np.array([bool(WHOLE_TEXT.fullmatch(text)) for text in plain.to_pylist()])
        _check_exact(large & whole, column, where)
    return values


def _pattern(decimal: str) -> str:
    """A regular expression of numbers whose fractions begin with ``decimal``, and of infinities."""
    return f"{NUMBER.replace(DOT, re.escape(decimal))}|{NOT_FINITE}"


def _bad_cell(text: str, row: int, where: str, decimal: str) -> str:
    problem = f"{where} has {_short(text)} in row {row + 1}, which is no number"
    if decimal == "." and re.fullmatch(r"[+-]?[0-9]+,[0-9]+", text.strip()):
        return f"{problem}; if the file has decimal commas, add --decimal ','"
    if decimal == "," and re.fullmatch(r"[+-]?[0-9]*[.][0-9,]+", text.strip()):
        return f"{problem} with --decimal ','; leave that out, or take the points between thousands away"
    return f"{problem}; mend it, or name the columns to use with --feature"


def _check_exact(large: np.ndarray, column: pa.ChunkedArray, where: str) -> None:
    if large.any():
        row = int(np.argmax(large))
        raise PopulationError(
            f"{where} has whole numbers beyond 2^53 ({column[row].as_py()} in row {row + 1}), which are rather names "
            "than numbers; leave it out with --feature"
        )


def _short(value: object) -> str:
    """A cell in quotes where it is text, cut to what a sentence can hold."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
