"""Tables of one's own: every number arrives as pandas reads it, clients and classes in order, nothing lost in
silence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from data_prep.table import prepare
from raysplit.errors import PopulationError
from raysplit.population.arrow import OpenArrow
from tests.data_prep.archives import opened


def frame(rows: int = 200, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "site": rng.choice([2, 10, 1], rows, p=[0.5, 0.3, 0.2]),
            "age": rng.integers(20, 90, rows),
            "weight": rng.normal(70, 15, rows),
            "smokes": rng.random(rows) < 0.3,
            "outcome": rng.choice(["well", "ill"], rows),
        }
    )


def save(table: pd.DataFrame, file: Path) -> Path:
    table.to_parquet(file, index=False) if file.suffix == ".parquet" else table.to_csv(file, index=False)
    return file


def all_rows(population: OpenArrow, client: int) -> np.ndarray:
    """Features and label of every row of a client, sorted: float32 [n, columns + 1]."""
    parts = [population.train(client), population.test(client)]
    x = np.concatenate([p.x.numpy().reshape(len(p.y), -1) for p in parts])
    y = np.concatenate([p.y.numpy() for p in parts])
    both = np.concatenate([x, y[:, None].astype(np.float32)], axis=1)
    return both[np.lexsort(both.T)]


def expected(table: pd.DataFrame, features: list[str]) -> np.ndarray:
    y = (table["outcome"] == "well").to_numpy(np.float32)  # "ill" < "well"
    both = np.concatenate([table[features].to_numpy(np.float64).astype(np.float32), y[:, None]], axis=1)
    return both[np.lexsort(both.T)]


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_each_client_owns_its_rows_to_the_last_bit_of_float32(tmp_path: Path, quiet: Console, kind: str) -> None:
    table = frame()
    source = save(table, tmp_path / f"t.{kind}")
    summary = prepare(tmp_path / "t.arrow", source=source, label="outcome", client="site", console=quiet)
    population = opened(tmp_path / "t.arrow")
    assert [population.name(k) for k in range(3)] == ["1", "2", "10"], "numbers in order, also as texts of a CSV"
    for k, site in enumerate((1, 2, 10)):
        of_site = table[table["site"] == site]
        assert np.array_equal(all_rows(population, k), expected(of_site, ["age", "weight", "smokes"]))
        assert len(population.test(k).y) == len(of_site) - len(of_site) * 9 // 10
    assert (summary.dtype, summary.shape, summary.classes) == ("float32", (1, 1, 3), 2)
    assert "classes ill, well of column 'outcome'" in summary.source and "clients by column 'site'" in summary.source


def test_csv_and_parquet_give_one_digest_and_the_split_follows_the_seed(tmp_path: Path, quiet: Console) -> None:
    def digest(kind: str, seed: int) -> str:
        source = save(frame(), tmp_path / f"t.{kind}")
        return prepare(
            tmp_path / "t.arrow", source=source, label="outcome", client="site", seed=seed, console=quiet
        ).digest

    assert digest("csv", 0) == digest("parquet", 0) != digest("csv", 1)


def test_chosen_features_keep_their_order_and_leave_the_rest_out(tmp_path: Path, quiet: Console) -> None:
    table = frame().assign(remark="text")
    source = save(table, tmp_path / "t.parquet")
    prepare(
        tmp_path / "t.arrow", source=source, label="outcome", client="site", features=["weight", "age"], console=quiet
    )
    of_site = table[table["site"] == 1]
    assert np.array_equal(all_rows(opened(tmp_path / "t.arrow"), 0), expected(of_site, ["weight", "age"]))


def test_without_clients_a_table_is_a_pool_with_a_tenth_of_each_class_held_out(tmp_path: Path, quiet: Console) -> None:
    table = frame()[["age", "weight", "outcome"]]
    summary = prepare(tmp_path / "t.arrow", source=save(table, tmp_path / "t.csv"), label="outcome", console=quiet)
    population = opened(tmp_path / "t.arrow")
    assert summary.clients == 1 and population.name(0) == "pool"
    assert np.array_equal(all_rows(population, 0), expected(table, ["age", "weight"]))
    counts = table["outcome"].value_counts()
    assert np.bincount(population.test(0).y).tolist() == [(counts[name] + 5) // 10 for name in ("ill", "well")]


def test_a_pool_of_clients_keeps_each_clients_split(tmp_path: Path, quiet: Console) -> None:
    source = save(frame(), tmp_path / "t.csv")
    prepare(tmp_path / "c.arrow", source=source, label="outcome", client="site", console=quiet)
    summary = prepare(tmp_path / "p.arrow", source=source, label="outcome", client="site", pool=True, console=quiet)
    clients, pool = opened(tmp_path / "c.arrow"), opened(tmp_path / "p.arrow")
    assert summary.clients == 1
    assert np.array_equal(pool.test(0).x, np.concatenate([clients.test(k).x for k in range(3)]))
    assert np.array_equal(pool.train(0).y, np.concatenate([clients.train(k).y for k in range(3)]))


def test_standardised_columns_have_mean_0_and_sd_1_in_training_and_can_be_undone(
    tmp_path: Path, quiet: Console
) -> None:
    table = frame().assign(same=7.5, far=lambda t: 1e9 + t["age"])
    source = save(table, tmp_path / "t.parquet")
    summary = prepare(
        tmp_path / "t.arrow", source=source, label="outcome", client="site", standardise=True, console=quiet
    )
    population = opened(tmp_path / "t.arrow")
    train = np.concatenate([population.train(k).x.numpy().reshape(-1, 5) for k in range(3)]).astype(np.float64)
    assert np.allclose(train.mean(0), 0, atol=1e-6)
    assert np.allclose(train.std(0), [1, 1, 1, 0, 1], atol=1e-6)
    told = dict(
        part.split(": ")
        for part in summary.source.split("(column: mean, sd): ")[1].split("; ")[0].split(", ")
        if ": " in part
    )
    assert set(told) == {"age", "weight", "smokes", "same", "far"} and told["same"] == "7.5"
    words = summary.source.split("weight: ")[1].split(", ")
    mean, sd = float(words[0]), float(words[1])
    back = np.sort(train[:, 1] * sd + mean)
    held_out = np.concatenate([population.test(k).x.numpy().reshape(-1, 5) for k in range(3)])[:, 1] * sd + mean
    assert np.allclose(np.sort([*back, *held_out]), np.sort(table["weight"]), atol=1e-4)


def test_ids_of_a_csv_stay_apart_and_float_labels_are_classes(tmp_path: Path, quiet: Console) -> None:
    (tmp_path / "t.csv").write_text("id,x,y\n01,1.5,0\n1,2.5,3\n001,3.5,0\n")
    prepare(tmp_path / "t.arrow", source=tmp_path / "t.csv", label="y", client="id", console=quiet)
    population = opened(tmp_path / "t.arrow")
    assert [population.name(k) for k in range(3)] == ["001", "01", "1"]
    assert [population.train(k).y.item() for k in range(3)] == [0, 0, 1]
    table = pd.DataFrame({"x": [1.0, 2.0], "y": [10.0, 9.0]})
    summary = prepare(tmp_path / "t.arrow", source=save(table, tmp_path / "t.parquet"), label="y", console=quiet)
    assert "classes 9, 10 of column 'y'" in summary.source
    assert opened(tmp_path / "t.arrow").train(0).y.tolist() == [1, 0]


def test_categories_of_a_parquet_are_classes(tmp_path: Path, quiet: Console) -> None:
    table = frame().astype({"outcome": "category"})
    summary = prepare(
        tmp_path / "t.arrow", source=save(table, tmp_path / "t.parquet"), label="outcome", client="site", console=quiet
    )
    assert "classes ill, well" in summary.source


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        ({}, {"label": "outcom"}, "no column 'outcom' for --label; did you mean 'outcome'"),
        ({}, {"label": "outcome", "client": "sit"}, "no column 'sit' for --client"),
        ({}, {"label": "outcome", "features": ["agee"]}, "no column 'agee' for --feature"),
        ({}, {"label": "outcome", "features": ["age", "age"]}, "each once"),
        ({}, {"label": "outcome", "features": ["outcome"]}, "besides those of --label"),
        ({"remark": "text"}, {"label": "outcome"}, "'remark' is of type .*string, not numbers"),
        ({"age": [None, *range(199)]}, {"label": "outcome"}, "no value in column 'age' of row 1"),
        ({"age": [0, np.inf, *range(198)]}, {"label": "outcome"}, "'age' has inf in row 2"),
        ({"outcome": np.linspace(0, 1, 200)}, {"label": "outcome"}, "holds fractions"),
        ({"big": np.arange(200) + (1 << 24)}, {"label": "outcome"}, "'big' has whole numbers beyond 16,777,216"),
        ({"big": np.arange(200) + (1 << 60)}, {"label": "outcome"}, "'big' has whole numbers beyond 2"),
        ({"big": np.full(200, 1e300)}, {"label": "outcome"}, "'big' has numbers too large"),
        ({"big": np.linspace(0, 1e39, 200)}, {"label": "outcome"}, "'big' has numbers too large"),
    ],
)
def test_columns_that_would_be_lost_or_guessed_are_refused(
    tmp_path: Path,
    quiet: Console,
    change: dict[str, object],
    options: dict[str, object],
    words: str,
) -> None:
    source = save(frame().assign(**change), tmp_path / "t.parquet")
    with pytest.raises(PopulationError, match=words) as caught:
        prepare(tmp_path / "t.arrow", source=source, console=quiet, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value) and "t.parquet" in str(caught.value)
    assert not list(tmp_path.glob("*.arrow"))


def test_whole_numbers_beyond_float32_may_be_standardised(tmp_path: Path, quiet: Console) -> None:
    source = save(frame().assign(big=np.arange(200) + (1 << 30)), tmp_path / "t.parquet")
    prepare(tmp_path / "t.arrow", source=source, label="outcome", standardise=True, console=quiet)


def test_files_that_are_no_tables_are_refused(tmp_path: Path, quiet: Console) -> None:
    def refuses(name: str, content: bytes | None, words: str) -> None:
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(PopulationError, match=words) as caught:
            prepare(tmp_path / "t.arrow", source=tmp_path / name, label="y", console=quiet)
        assert "\n" not in str(caught.value)

    refuses("t.parquet", b"PAR1 nothing", "no readable table")
    refuses("t.csv", b"x,y\n1,2\n3\n", "no readable table")
    refuses("t.csv", b"", "no readable table")
    refuses("t.csv", b"x,y\n", "has no rows")
    refuses("t.csv", b"x,x,y\n1,2,3\n", "two columns of one name")
    refuses("t.csv", b"x,y\n1,\n", "no value in column 'y' of row 1")
    refuses("t.xlsx", b"PK", "neither .parquet nor .csv")
    refuses("nowhere.csv", None, "there is no table")
    with pytest.raises(PopulationError, match="name its file with --from"):
        prepare(tmp_path / "t.arrow", label="y", console=quiet)


def test_a_table_trains(tmp_path: Path, quiet: Console) -> None:
    """A line that separates two classes is found by a model that sees the numbers as they are."""
    from tests.population.test_arrow_float import Line, scenario
    from tests.toys import play

    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (400, 6)) * [1, 100, 1, 1, 1, 1] + 50
    table = pd.DataFrame(x, columns=list("abcdef")).assign(y=(x[:, 1] > 50).astype(int), who=np.arange(400) % 4)
    source = save(table, tmp_path / "t.parquet")
    prepare(tmp_path / "t.arrow", source=source, label="y", client="who", standardise=True, console=quiet)
    assert Line().input_shape == opened(tmp_path / "t.arrow").info.shape
    changes = {"cohort.size": 4, "training.rounds": 8, "training.batch_size": 16}
    played = play(scenario(tmp_path / "t.arrow", **changes))
    assert played.tables["evaluations"].to_pylist()[-1]["accuracy"] >= 0.9
