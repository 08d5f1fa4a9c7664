"""Reading a table's file: Parquet with its types, CSV as texts in a stated dialect; hints where the dialect is another.

No type of a CSV's column is guessed from its first rows: every cell arrives as the text that it is, and
``data_prep.table_columns`` makes numbers or names of it.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from raysplit.errors import PopulationError

DELIMITERS = (",", ";", "\t", "|")
CHUNK = 1 << 20
FLAGS = ("delimiter", "decimal", "encoding")


@dataclass(frozen=True)
class Dialect:
    """How a CSV is written: one character between cells, ``.`` or ``,`` in numbers, and a text encoding of Python."""

    delimiter: str = ","
    decimal: str = "."
    encoding: str = "utf-8"

    @classmethod
    def of(cls, file: Path, delimiter: str | None, decimal: str | None, encoding: str | None) -> Dialect:
        """The dialect that the options name; raises ``PopulationError`` for one that no file has."""
        given = [f"--{flag}" for flag, value in zip(FLAGS, (delimiter, decimal, encoding), strict=True) if value]
        if given and file.suffix.lower() == ".parquet":
            raise PopulationError(f"{given[0]} is about CSV, but {str(file)!r} is Parquet; leave it out")
        delimiter = {"tab": "\t", "\\t": "\t"}.get(delimiter or ",", delimiter or ",")
        if len(delimiter) != 1 or not delimiter.isascii() or delimiter.isalnum() or delimiter in '"\r\n':
            raise PopulationError(
                f"--delimiter is the one character between two cells, such as ';', or 'tab', not {delimiter!r}"
            )
        if (decimal or ".") not in (".", ","):
            raise PopulationError(f"--decimal must be '.' or ',', but it is {decimal!r}")
        if (decimal or ".") == delimiter:
            raise PopulationError(
                f"--decimal and the delimiter are both {delimiter!r}; name another --delimiter, such as ';'"
            )
        return cls(delimiter, decimal or ".", encoding or "utf-8")


def load(file: Path, dialect: Dialect) -> pa.Table:
    """The table: of a CSV, all columns are texts, with nulls for what stands for none there (empty, NA, NaN, null)."""
    import pyarrow.parquet

    suffix = file.suffix.lower()
    if suffix not in (".parquet", ".csv"):
        raise PopulationError(f"{str(file)!r} is neither .parquet nor .csv; save the table as one of them")
    if suffix == ".csv":
        return _load_csv(file, dialect)
    try:
        return pyarrow.parquet.read_table(file)
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise _unreadable(file, error) from error


def other_dialect(file: Path, dialect: Dialect) -> str:
    """A hint, or nothing: the options that fit what the first two lines of a CSV look like."""
    if file.suffix.lower() != ".csv":
        return ""
    head, first = _check_encoding(file, dialect.encoding)
    likely = max(DELIMITERS, key=head.count)
    if head.count(likely) <= head.count(dialect.delimiter):
        return ""
    decimal = " --decimal ','" if likely != "," and re.search(r"\d,\d", first) else ""
    named = "tab" if likely == "\t" else f"'{likely}'"
    return f"; its first line looks split by {named}: try --delimiter {named}{decimal}"


def _load_csv(file: Path, dialect: Dialect) -> pa.Table:
    import pyarrow.csv as csv

    _check_encoding(file, dialect.encoding)
    # One thread: only then does a row of a wrong length come with its number.
    read = csv.ReadOptions(use_threads=False, encoding=dialect.encoding)
    parse = csv.ParseOptions(delimiter=dialect.delimiter, newlines_in_values=True)
    try:
        with csv.open_csv(file, read_options=read, parse_options=parse) as head:
            names = head.schema.names
        texts = csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True)
        return csv.read_csv(file, read_options=read, parse_options=parse, convert_options=texts)
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise _unreadable(file, error, other_dialect(file, dialect)) from error


def _unreadable(file: Path, error: Exception, hint: str = "") -> PopulationError:
    reason = " ".join(str(error).split())[:160].rstrip(".")
    return PopulationError(f"{str(file)!r} is no readable table ({reason}){hint or '; mend it or save it again'}")


def _check_encoding(file: Path, encoding: str) -> tuple[str, str]:
    """The first two lines of a text; raises ``PopulationError`` when the file is not text of that ``encoding``."""
    try:
        decoder = codecs.getincrementaldecoder(encoding)(errors="strict")
        codecs.lookup(encoding).decode(b"")[0].encode(encoding)  # refuses what is no encoding of texts, such as hex
    except (LookupError, AttributeError, TypeError) as error:
        raise PopulationError(
            f"--encoding {encoding!r} is no text encoding that Python knows, such as utf-8, cp1252 or utf-16"
        ) from error
    beginning = ""
    try:
        with open(file, "rb") as content:
            while chunk := content.read(CHUNK):
                text = decoder.decode(chunk)
                beginning += text[: max(0, CHUNK - len(beginning))]
            decoder.decode(b"", final=True)
    except UnicodeError as error:
        with open(file, "rb") as content:
            wide = content.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        raise PopulationError(
            f"{str(file)!r} is no text in {encoding}; name its encoding, such as --encoding "
            f"{'utf-16' if wide else 'cp1252'}"
        ) from error
    except OSError as error:
        raise _unreadable(file, error) from error
    lines = [*beginning.splitlines()[:2], "", ""]
    return lines[0], lines[1]
