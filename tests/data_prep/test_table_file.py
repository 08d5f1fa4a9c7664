"""Tables as they come: one order of classes in CSV and Parquet, dialects, and the first bad cell by row and value."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from data_prep.prepared import Summary
from data_prep.table import prepare
from raysplit.errors import PopulationError
from tests.data_prep.archives import opened
from tests.data_prep.test_table import save

QUIET = Console(quiet=True)


def prepared(source: Path, **options: object) -> Summary:
    return prepare(source.with_suffix(".arrow"), source=source, console=QUIET, **{"label": "y", **options})  # type: ignore[arg-type]


def refuses(source: Path, *words: str, **options: object) -> None:
    with pytest.raises(PopulationError) as caught:
        prepared(source, **options)
    told = str(caught.value)
    assert all(word in told for word in words), told
    assert "\n" not in told and source.name in told and not source.with_suffix(".arrow").exists()


def written(tmp_path: Path, text: str, encoding: str = "utf-8") -> Path:
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    return tmp_path / "t.csv"


def both(tmp_path: Path, table: pd.DataFrame) -> list[Path]:
    return [save(table, tmp_path / "t.csv"), save(table, tmp_path / "t.parquet")]


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([0, 1, 2, 10, 11], "0, 1, 2, 10, 11"),
        ([0.0, 1.0, 2.0, 10.0, 11.0], "0, 1, 2, 10, 11"),
        ([-1.0, 1.0, 10.0, -10.0, 0.0], "-10, -1, 0, 1, 10"),
        (["0", "1", "2", "10", "11"], "0, 1, 2, 10, 11"),
        (["1.0", "2", "10.00", "11", "3e1"], "1, 2, 10, 11, 30"),
        (["01", "1", "10", "2", "b"], "01, 1, 10, 2, b"),
        ([True, False, True, False, True], "False, True"),
        (["b", "a", "10", "9", "c"], "10, 9, a, b, c"),
    ],
)
@pytest.mark.parametrize("column", ["y", "who"])
def test_csv_and_parquet_number_classes_and_clients_alike(
    tmp_path: Path, labels: list[object], classes: str, column: str
) -> None:
    table = pd.DataFrame({"x": range(5), "y": [0, 1, 0, 1, 0], "who": ["a", "a", "a", "a", "a"], column: labels})
    summaries = [prepared(file, client="who") for file in both(tmp_path, table)]
    assert summaries[0].digest == summaries[1].digest
    if column == "y":
        assert all(f"classes {classes} of column 'y'" in summary.source for summary in summaries)
    else:
        population = opened(tmp_path / "t.arrow")
        assert [population.name(k) for k in range(population.info.clients)] == classes.split(", ")


@pytest.mark.parametrize("column", ["y", "who"])
@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([1.0, 2.0, 0.5], "holds fractions (0.5 in row 3), which name nothing; use whole numbers or texts"),
        (["1", "2.5", "2"], "holds fractions (2.5 in row 2)"),
        ([1.0, np.inf, 0.5], "has inf in row 2, which names nothing"),
        ([1.0, 1e20, 2.0], "has 1e+20 in row 2, beyond 2^53"),
        ([1.0, np.nan, 2.0], "has no value in column"),
        (["a", "b", " a"], "holds 'a' and ' a', which differ in blanks only"),
    ],
)
def test_what_names_nothing_is_refused_in_both(tmp_path: Path, labels: list[object], words: str, column: str) -> None:
    table = pd.DataFrame({"x": range(3), "y": [0, 1, 0], "who": ["a", "b", "c"], column: labels})
    for file in both(tmp_path, table):
        refuses(file, words, repr(column), client="who")


@pytest.mark.parametrize("value", ["inf", "-inf", "Infinity", "1e400"])
def test_an_infinite_cell_is_named_by_row_and_value(tmp_path: Path, value: str) -> None:
    refuses(written(tmp_path, f"x,y\n1,a\n2,b\n{value},a\n"), "column 'x' has", "inf in row 3")


def test_a_cell_of_nan_is_named_by_row_in_both(tmp_path: Path) -> None:
    table = pd.DataFrame({"x": [1.0, 2.0, np.nan], "y": [0, 1, 0]})
    csv, parquet = both(tmp_path, table)
    refuses(csv, "no value in column 'x' of row 3")
    refuses(written(tmp_path, "x,y\n1,a\n2,b\nNaN,a\n"), "no value in column 'x' of row 3")
    refuses(parquet, "'x'", "row 3")


def test_a_huge_cell_is_named_by_row_and_value_in_both_whether_standardised_or_not(tmp_path: Path) -> None:
    table = pd.DataFrame({"x": [1.0, 2.0, 1e300, 3.0] * 5, "y": [0, 1, 0, 1] * 5})
    for file in both(tmp_path, table):
        refuses(file, "column 'x' has numbers too large for float32 (1e+300 in row 3)")
        refuses(file, "column 'x' has numbers too large to standardise (1e+300 in row 3)", standardise=True)


def test_whole_numbers_that_would_run_together_are_named_by_row_and_value(tmp_path: Path) -> None:
    for file in both(tmp_path, pd.DataFrame({"x": [1, 2, (1 << 24) + 1], "y": [0, 1, 0]})):
        refuses(file, "'x' has whole numbers beyond 16,777,216 (16777217 in row 3)")
    for file in both(tmp_path, pd.DataFrame({"x": [1, 2, (1 << 53) + 1], "y": [0, 1, 0]})):
        refuses(file, "'x' has whole numbers beyond 2^53 (9007199254740993 in row 3)", standardise=True)


def test_the_first_bad_cell_of_a_csv_is_named_by_row_and_value(tmp_path: Path) -> None:
    refuses(written(tmp_path, "x,y\n1,a\n2,b\n12 cm,a\n?,b\n"), "column 'x' has '12 cm' in row 3, which is no number")
    refuses(written(tmp_path, "x,y\n2020-01-01,a\n"), "column 'x' has '2020-01-01' in row 1, which is no number")
    refuses(written(tmp_path, "x,y\n1,a\n1_000,b\n"), "'1_000' in row 2")
    refuses(written(tmp_path, f"x,y\n{'long ' * 100},a\n"), "…")


def test_a_column_whose_fractions_come_late_is_a_column_of_numbers(tmp_path: Path) -> None:
    """Types that are guessed from the first megabyte fail here."""
    rows = 200_000
    lines = [f"{k},{k % 2}" for k in range(rows)]
    lines[-1] = "0.5,1"
    prepared(written(tmp_path, "x,y\n" + "\n".join(lines) + "\n"), label="y")
    population = opened(tmp_path / "t.arrow")
    x = np.concatenate([population.train(0).x.flatten(), population.test(0).x.flatten()])
    assert len(x) == rows and sorted(x[x < 1].tolist()) == [0, 0.5]


def test_a_row_of_a_wrong_length_is_named(tmp_path: Path) -> None:
    refuses(written(tmp_path, "x,y\n1,a\n2,b,c\n"), "Row #3", "Expected 2 columns, got 3")


def test_numbers_are_read_as_python_reads_them(tmp_path: Path) -> None:
    texts = ["1", "-1.5", "+2", ".5", "5.", "1e3", "1E-3", " 7 ", "0.1", "1e-50", "007", "16777216"]
    prepared(written(tmp_path, "x,y\n" + "\n".join(f"{text},a" for text in texts) + "\n"))
    population = opened(tmp_path / "t.arrow")
    x = np.concatenate([population.train(0).x.flatten(), population.test(0).x.flatten()])
    assert sorted(x.tolist()) == sorted(np.array([float(t) for t in texts], np.float32).tolist())


SEMICOLONS = "größe;who;y\n1,5;a;krank\n-0,25;b;gesund\n1.5e1;b;gesund\n".replace("1.5e1", "15")


def test_semicolons_decimal_commas_and_another_encoding_are_read_when_they_are_named(tmp_path: Path) -> None:
    plain = prepared(written(tmp_path, "größe,who,y\n1.5,a,krank\n-0.25,b,gesund\n15,b,gesund\n"), client="who")
    options = {"client": "who", "delimiter": ";", "decimal": ","}
    assert prepared(written(tmp_path, SEMICOLONS), **options).digest == plain.digest
    for encoding in ("cp1252", "utf-16", "utf-8-sig"):
        source = written(tmp_path, SEMICOLONS, encoding)
        assert prepared(source, encoding=encoding, **options).digest == plain.digest
    assert prepared(written(tmp_path, SEMICOLONS, "utf-8-sig"), **options).digest == plain.digest
    for tab in ("tab", "\t", "\\t"):
        source = written(tmp_path, SEMICOLONS.replace(";", "\t"))
        assert prepared(source, client="who", delimiter=tab, decimal=",").digest == plain.digest


def test_a_file_that_looks_like_another_dialect_says_which(tmp_path: Path) -> None:
    source = written(tmp_path, SEMICOLONS)
    refuses(source, "its first line looks split by ';': try --delimiter ';' --decimal ','")
    refuses(source, "column 'größe' has '1,5' in row 1", "add --decimal ','", delimiter=";", features=["größe"])
    refuses(written(tmp_path, "x\ty\n1\ta\n"), "no column 'y' for --label; its first line looks split by tab")
    refuses(written(tmp_path, "x;y\n1.234,5;a\n"), "'1.234,5' in row 1", delimiter=";", decimal=",")
    refuses(written(tmp_path, "x;y\n1.234;a\n"), "points between thousands", delimiter=";", decimal=",")
    for encoding, named in (("cp1252", "cp1252"), ("utf-16", "utf-16")):
        refuses(
            written(tmp_path, SEMICOLONS, encoding),
            f"is no text in utf-8; name its encoding, such as --encoding {named}",
        )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"delimiter": "ab"}, "--delimiter is the one character"),
        ({"delimiter": '"'}, "--delimiter is the one character"),
        ({"delimiter": "é"}, "--delimiter is the one character"),
        ({"decimal": "'"}, "--decimal must be '.' or ','"),
        ({"decimal": ","}, "--decimal and the delimiter are both ','"),
        ({"encoding": "klingon"}, "--encoding 'klingon' is no text encoding"),
        ({"encoding": "hex"}, "--encoding 'hex' is no text encoding"),
        ({"encoding": "rot13"}, "--encoding 'rot13' is no text encoding"),
    ],
)
def test_a_dialect_that_no_file_has_is_refused(tmp_path: Path, options: dict[str, str], words: str) -> None:
    with pytest.raises(PopulationError, match=words):
        prepared(written(tmp_path, "x,y\n1,a\n"), **options)


def test_a_dialect_is_about_csv(tmp_path: Path) -> None:
    file = save(pd.DataFrame({"x": [1], "y": [0]}), tmp_path / "t.parquet")
    refuses(file, "--decimal is about CSV, but", "is Parquet; leave it out", decimal=",")


def test_the_index_that_pandas_saved_is_left_out_with_a_word(tmp_path: Path) -> None:
    table = pd.DataFrame({"x": [1.5, 2.5, 3.5], "y": [0, 1, 0]}, index=[4, 9, 7])
    digest = prepared(save(table, tmp_path / "t.csv")).digest
    table.to_csv(tmp_path / "t.csv")
    pd.read_csv(tmp_path / "t.csv").to_csv(tmp_path / "u.csv")
    table.to_parquet(tmp_path / "t.parquet")
    for name, columns in (("t.csv", "''"), ("u.csv", "'', 'Unnamed: 0'"), ("t.parquet", "'__index_level_0__'")):
        summary = prepared(tmp_path / name)
        assert summary.digest == digest and summary.shape == (1, 1, 1)
        assert f"left out, being the index that pandas saved: {columns};" in summary.source
    assert prepared(tmp_path / "u.csv", features=["Unnamed: 0", "x"]).shape == (1, 1, 2)


def test_a_nameless_column_that_is_no_index_is_refused(tmp_path: Path) -> None:
    refuses(written(tmp_path, "x,,y\n1,5,a\n2,5,b\n"), "has the column '', which has no name of its own, but is not")
    refuses(
        written(tmp_path, "x,y,\n1,a,\n2,b,\n"), "it lacks or repeats values; name the columns to use with --feature"
    )


def test_a_constant_column_is_centred_to_zero_whatever_its_mean_rounds_to(tmp_path: Path) -> None:
    prepared(written(tmp_path, "x,z,y\n" + "".join(f"0.1,{k},a\n" for k in range(31))), standardise=True)
    assert (opened(tmp_path / "t.arrow").train(0).x[..., 0] == 0).all()


def test_a_missing_column_names_the_nearest(tmp_path: Path) -> None:
    refuses(
        written(tmp_path, "age,Outcome\n1,a\n"),
        "no column 'outcome' for --label; did you mean 'Outcome'?",
        label="outcome",
    )


def test_quoted_cells_may_hold_delimiters_and_line_ends(tmp_path: Path) -> None:
    summary = prepared(written(tmp_path, 'x,y\n1,"a, b"\n2,"c\nd"\n"3",e\n'))
    assert (summary.classes, summary.train + summary.test) == (3, 3)
