"""Pictures in Parquet shards, as hubs publish them: the bytes, the names of the classes, the parts of the split."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from rich.console import Console

from data_prep.image_folder import prepare
from raysplit.errors import PopulationError
from tests.data_prep.archives import opened

QUIET = Console(quiet=True)


def pixels(seed: int, side: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def encoded(seed: int, side: int = 5) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels(seed, side)).save(out, "PNG")
    return out.getvalue()


def shard(
    file: Path, labels: list[object], start: int = 0, names: list[str] | None = None, **more: list[object]
) -> Path:
    """A shard as the ``datasets`` library writes it: {"bytes", "path"}, ClassLabel names in the schema's metadata."""
    file.parent.mkdir(parents=True, exist_ok=True)
    cells = [{"bytes": encoded(start + k), "path": f"{k}.png"} for k in range(len(labels))]
    table = pa.table({"image": cells, "label": labels, **more})
    if names is not None:
        told = {"info": {"features": {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(told)})
    pq.write_table(table, file)
    return file


def refuses(tmp_path: Path, source: Path, words: str, **options: object) -> None:
    with pytest.raises(PopulationError, match=words) as caught:
        prepare(tmp_path / "t.arrow", source=source, console=QUIET, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value) and not list(tmp_path.glob("*.arrow"))


@pytest.mark.parametrize("nested", ["data", "default"])
def test_shards_of_a_hub_are_the_split_in_the_order_of_their_names(tmp_path: Path, nested: str) -> None:
    names = ["cat", "ant", "dog"]
    hub = tmp_path / "hub"
    train = [f"{nested}/train-0000{k}-of-00002.parquet" for k in range(2)]
    train, test = (train, f"{nested}/test-00000-of-00001.parquet") if nested == "data" else (
        [f"default/train/000{k}.parquet" for k in range(2)], "default/test/0000.parquet")  # fmt: skip
    shard(hub / train[0], [0, 2, 1], 0, names)
    shard(hub / train[1], [1, 0], 3, names)
    shard(hub / test, [2, 2], 5, names)
    summary = prepare(tmp_path / "t.arrow", source=hub, console=QUIET)
    population = opened(tmp_path / "t.arrow")
    assert population.train(0).y.tolist() == [0, 2, 1, 1, 0] and population.test(0).y.tolist() == [2, 2]
    for row in range(5):
        assert np.array_equal(population.train(0).x[row].numpy(), pixels(row).transpose(2, 0, 1))
    assert np.array_equal(population.test(0).x[1].numpy(), pixels(6).transpose(2, 0, 1))
    assert "classes cat, ant, dog, numbered from 0" in summary.source, "the order of the metadata, not of the names"


def test_one_file_without_metadata_has_the_classes_of_its_values_and_a_tenth_held_out(tmp_path: Path) -> None:
    file = shard(tmp_path / "all.parquet", [10, 9] * 10)
    summary = prepare(tmp_path / "t.arrow", source=file, console=QUIET)
    assert (summary.train, summary.test, summary.histogram) == (18, 2, (10, 10))
    assert "classes 9, 10, numbered from 0" in summary.source
    file = shard(tmp_path / "train-0.parquet", ["b", "a"] * 10)
    assert "classes a, b," in prepare(tmp_path / "t.arrow", source=file, console=QUIET).source


def test_a_column_says_whose_picture_it_is(tmp_path: Path) -> None:
    file = shard(tmp_path / "w.parquet", [0, 1] * 10, writer=["b", "a", "b", "b"] * 5)
    prepare(tmp_path / "t.arrow", source=file, client="writer", console=QUIET)
    population = opened(tmp_path / "t.arrow")
    assert [population.name(k) for k in range(2)] == ["a", "b"]
    assert population.train_sizes(np.arange(2)).tolist() == [4, 13]
    assert set(population.train(0).y.tolist()) == {1}
    pooled = prepare(tmp_path / "t.arrow", source=file, client="writer", pool=True, console=QUIET)
    assert (pooled.clients, pooled.train) == (1, 17)


def test_bare_bytes_another_label_and_a_size_are_taken(tmp_path: Path) -> None:
    table = pa.table({"img": [encoded(1), encoded(2, 8)], "fine": [0, 1]})
    pq.write_table(table, tmp_path / "b.parquet")
    summary = prepare(
        tmp_path / "t.arrow", source=tmp_path / "b.parquet", label="fine", size=4, grey=True, console=QUIET
    )
    assert summary.shape == (1, 4, 4)


def test_what_is_no_table_of_pictures_is_refused(tmp_path: Path) -> None:
    names = ["cat", "dog"]
    refuses(
        tmp_path, shard(tmp_path / "a.parquet", [0, -1], 0, names), "'label' has -1 in row 2, which is none of the 2"
    )
    refuses(tmp_path, shard(tmp_path / "b.parquet", [0, None]), "no value in column 'label' of row 2")
    refuses(tmp_path, tmp_path / "b.parquet", "no column 'labels' for --label; did you mean 'label'", label="labels")
    refuses(tmp_path, tmp_path / "b.parquet", "--by-client is about folders", by_client=True)
    pq.write_table(pa.table({"x": [1.0], "label": [0]}), tmp_path / "c.parquet")
    refuses(tmp_path, tmp_path / "c.parquet", "needs one column of pictures, .* but has none")
    pq.write_table(
        pa.table(
            {"image": [{"bytes": None, "path": "a.png"}], "label": [0]},
            schema=pa.schema({"image": pa.struct({"bytes": pa.binary(), "path": pa.string()}), "label": pa.int64()}),
        ),
        tmp_path / "d.parquet",
    )
    refuses(tmp_path, tmp_path / "d.parquet", "no picture in column 'image' of row 1")
    pq.write_table(pa.table({"image": [encoded(1), b"none"], "label": [0, 1]}), tmp_path / "e.parquet")
    refuses(tmp_path, tmp_path / "e.parquet", "the picture of row 2 is no readable picture")
    pq.write_table(pa.table({"image": [encoded(1), encoded(2, 6)], "label": [0, 1]}), tmp_path / "f.parquet")
    refuses(tmp_path, tmp_path / "f.parquet", "the picture of row 2 has 6 × 6 pixels, the first picture 5 × 5")
    (tmp_path / "g.parquet").write_bytes(b"PAR1")
    refuses(tmp_path, tmp_path / "g.parquet", "is no readable table")
    shard(tmp_path / "h" / "train-0.parquet", [0])
    shard(tmp_path / "h" / "more.parquet", [0])
    refuses(tmp_path, tmp_path / "h", r"more\.parquet' says by no name which part of the split it is")
    (tmp_path / "i" / "cat").mkdir(parents=True)
    refuses(tmp_path, tmp_path / "i", "--label names a column of a table, but .*i' holds none", label="label")
