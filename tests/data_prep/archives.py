"""Small archives of the layouts of NIST SD 19 and of MNIST, and looking into what was prepared from them."""

from __future__ import annotations

import gzip
import io
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from data_prep.femnist import prepare
from raysplit.errors import PopulationError
from raysplit.population.arrow import ArrowFile, OpenArrow

# Two classes of each kind: "0", "9", "A", "Z", "a", "z".
FOLDERS = {"30": 0, "39": 9, "41": 10, "5a": 35, "61": 36, "7a": 61}


def png(seed: int, side: int = 128) -> bytes:
    """A character-like image: black strokes on white, one bit in three grey channels as NIST has them."""
    rng = np.random.default_rng(seed)
    pixels = np.full((side, side), 255, np.uint8)
    for _ in range(4):
        row, column = rng.integers(side // 8, side // 2, 2)
        pixels[row : row + side // 4, column : column + 1 + side // 16] = 0
    out = io.BytesIO()
    Image.fromarray(np.stack([pixels] * 3, axis=-1)).save(out, "PNG")
    return out.getvalue()


def archive(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return out.getvalue()


def nist() -> tuple[dict[str, bytes], dict[str, bytes], dict[str, list[tuple[int, int]]]]:
    """Members of ``by_class.zip`` and ``by_write.zip``, and each writer's images as (seed, class)."""
    by_class: dict[str, bytes] = {"by_class/": b"", "by_class/30/hsf_0.mit": b"1\nhsf_0_00000.png\n"}
    by_write: dict[str, bytes] = {"by_write/": b"", "by_write/hsf_0/": b"", "by_write/hsf_0.mit": b""}
    truth: dict[str, list[tuple[int, int]]] = {}
    draw = random.Random(0)
    for number in range(3):
        form = f"{number:04d}_{number + 14}"
        truth[f"f{form}"] = []
        for index in range(12):
            seed, folder = number * 1000 + index, draw.choice(list(FOLDERS))
            image = png(seed)
            by_class[f"by_class/{folder}/hsf_{number % 2}/hsf_{number % 2}_{seed:05d}.png"] = image
            if index % 2:
                # NIST repeats images in folders of its own training partition.
                by_class[f"by_class/{folder}/train_{folder}/train_{folder}_{seed:05d}.png"] = image
            by_write[f"by_write/hsf_{number % 2}/f{form}/d{form}/d{form}_{index:05d}.png"] = image
            truth[f"f{form}"].append((seed, FOLDERS[folder]))
    return by_class, by_write, truth


def grey28(image: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(image)).convert("L").resize((28, 28), Image.Resampling.LANCZOS))


def opened(path: Path) -> OpenArrow:
    return ArrowFile(str(path)).open()


def rows(population: OpenArrow, client: int) -> list[tuple[bytes, int]]:
    """All samples of a client, training and test, in no particular order."""
    parts = (population.train(client), population.test(client))
    return sorted((x.numpy().tobytes(), int(y)) for part in parts for x, y in zip(part.x, part.y, strict=True))


def refuses(tmp_path: Path, source: Path, quiet: Console, *words: str) -> None:
    with pytest.raises(PopulationError) as caught:
        prepare(tmp_path / "out" / "femnist.arrow", source=source, console=quiet)
    sentence = str(caught.value)
    assert "\n" not in sentence and len(sentence) < 600
    for word in words:
        assert word in sentence
    assert not list((tmp_path / "out").rglob("*.arrow*")), "a failed preparation leaves no file"


def idx(values: np.ndarray) -> bytes:
    """Bytes in the IDX format of MNIST: uint8 of any shape."""
    return bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes() + values.tobytes()


def lay(folder: Path, files: dict[str, bytes], packed: bool = False) -> Path:
    """Write files into ``folder``, gzipped where ``packed``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(content, 1) if packed else content)
    return folder
