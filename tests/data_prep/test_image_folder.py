"""Pictures of one's own: classes as torchvision's ImageFolder numbers them, clients and splits from folders or by
seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from data_prep.image_folder import prepare
from raysplit.errors import PopulationError
from tests.data_prep.archives import opened, rows


def picture(file: Path, seed: int, size: tuple[int, int] = (6, 5), mode: str = "RGB") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0], len(mode)) if mode != "L" else (size[1], size[0])
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)).save(file)


def fill(root: Path, classes: dict[str, int], start: int = 0) -> Path:
    for name, count in classes.items():
        for number in range(count):
            picture(root / name / f"{number:02d}.png", start := start + 1)
    return root


def test_a_folder_of_classes_is_a_pool_as_torchvision_reads_it(tmp_path: Path, quiet: Console) -> None:
    import torchvision

    folder = fill(tmp_path / "pets", {"dog": 20, "cat": 11, "bird": 3})
    (folder / "dog" / "notes.txt").write_text("not a picture")
    summary = prepare(tmp_path / "pets.arrow", source=folder, console=quiet)
    reference = torchvision.datasets.ImageFolder(str(folder))
    expected = sorted((np.asarray(image).transpose(2, 0, 1).tobytes(), label) for image, label in reference)
    population = opened(tmp_path / "pets.arrow")
    assert rows(population, 0) == expected
    assert (summary.name, summary.clients, summary.shape) == ("pets", 1, (3, 5, 6))
    assert np.bincount(population.test(0).y, minlength=3).tolist() == [0, 1, 2]
    assert "classes bird, cat, dog" in summary.source and "a pool of one client" in summary.source


def test_client_folders_are_clients_with_one_numbering_of_classes(tmp_path: Path, quiet: Console) -> None:
    fill(tmp_path / "homes" / "ann", {"dog": 10, "cat": 10}, 100)
    fill(tmp_path / "homes" / "bob", {"dog": 5}, 200)
    fill(tmp_path / "homes" / "eve", {"ant": 1}, 300)
    summary = prepare(tmp_path / "h.arrow", source=tmp_path / "homes", by_client=True, console=quiet)
    population = opened(tmp_path / "h.arrow")
    assert [population.name(k) for k in range(3)] == ["ann", "bob", "eve"]
    assert population.train_sizes(np.arange(3)).tolist() == [18, 4, 1]
    assert population.test_sizes(np.arange(3)).tolist() == [2, 1, 0]
    assert {int(n) for n in population.train(1).y} == {2} and population.train(2).y.tolist() == [0]
    pooled = prepare(tmp_path / "p.arrow", source=tmp_path / "homes", by_client=True, pool=True, console=quiet)
    assert (pooled.clients, pooled.train, pooled.test) == (1, summary.train, summary.test)
    assert np.array_equal(opened(tmp_path / "p.arrow").test(0).x[:2], population.test(0).x)


@pytest.mark.parametrize("by_client", [False, True])
def test_train_and_test_folders_are_the_split(tmp_path: Path, quiet: Console, by_client: bool) -> None:
    level = "ann" if by_client else ""
    fill(tmp_path / "s" / "train" / level, {"b": 4, "a": 2}, 0)
    fill(tmp_path / "s" / "test" / level, {"b": 3, "c": 1}, 50)
    summary = prepare(tmp_path / "s.arrow", source=tmp_path / "s", by_client=by_client, console=quiet)
    population = opened(tmp_path / "s.arrow")
    assert population.name(0) == ("ann" if by_client else "pool")
    assert population.train(0).y.tolist() == [0, 0, 1, 1, 1, 1] and population.test(0).y.tolist() == [1, 1, 1, 2]
    assert "kept as the split" in summary.source
    first = np.asarray(Image.open(tmp_path / "s" / "train" / level / "a" / "00.png")).transpose(2, 0, 1)
    assert np.array_equal(population.train(0).x[0].numpy(), first)


def test_a_client_with_test_pictures_only_is_refused(tmp_path: Path, quiet: Console) -> None:
    fill(tmp_path / "s" / "train" / "ann", {"a": 1})
    fill(tmp_path / "s" / "test" / "bob", {"a": 1})
    with pytest.raises(PopulationError, match="bob' is a client with test pictures only"):
        prepare(tmp_path / "s.arrow", source=tmp_path / "s", by_client=True, console=quiet)


def test_size_and_grey_are_pillows(tmp_path: Path, quiet: Console) -> None:
    picture(tmp_path / "f" / "a" / "1.png", 1, (9, 4))
    picture(tmp_path / "f" / "a" / "2.JPG", 2, (30, 40))
    picture(tmp_path / "f" / "b" / "3.png", 3, (7, 7), mode="L")
    picture(tmp_path / "f" / "b" / "4.png", 4, (7, 7), mode="RGBA")
    prepare(tmp_path / "f.arrow", source=tmp_path / "f", size=8, grey=True, console=quiet)
    files = [tmp_path / "f" / name for name in ("a/1.png", "a/2.JPG", "b/3.png", "b/4.png")]
    white = Image.new("RGBA", (7, 7), (255, 255, 255, 255))
    opaque = [Image.open(f) for f in files[:3]] + [Image.alpha_composite(white, Image.open(files[3]))]
    resized = [np.asarray(image.convert("L").resize((8, 8), Image.Resampling.BILINEAR)) for image in opaque]
    assert np.array_equal(opened(tmp_path / "f.arrow").train(0).x[:, 0].numpy(), np.stack(resized))


def test_what_cannot_be_a_population_is_one_sentence(tmp_path: Path, quiet: Console) -> None:
    folder = tmp_path / "f"

    def refuses(words: str, **options: object) -> None:
        with pytest.raises(PopulationError, match=words) as caught:
            prepare(tmp_path / "f.arrow", source=folder, console=quiet, **options)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value) and not list(tmp_path.glob("*.arrow"))

    refuses("there is no folder")
    folder.mkdir()
    refuses("no folders of the layout CLASS/PICTURE")
    (folder / "a").mkdir()
    refuses("has no pictures")
    refuses("CLIENT/CLASS/PICTURE", by_client=True)
    picture(folder / "a" / "1.png", 1)
    picture(folder / "a" / "2.png", 2, (7, 5))
    refuses(r"2.png' has 7 × 5 pixels, the first picture 6 × 5; give all one --size")
    refuses("--size must be 4 to 1024", size=5000)
    (folder / "a" / "2.png").write_bytes(b"not a picture")
    refuses("2.png' is no readable picture")
    Image.fromarray(np.zeros((5, 6), np.uint16)).save(folder / "a" / "2.png")
    refuses("more than eight bits a channel")
    refuses("a/1.png' lies in no class's folder; .* leave --by-client out", by_client=True)
    for number in (1, 2):
        (folder / "a" / f"{number}.png").unlink()
    fill(folder / "c" / "x", {"y": 1})
    refuses("c/x' is a folder within a class's folder, .* name --by-client")
    (folder / "c" / "x" / "y").rename(folder / "c" / "y")
    (folder / "c" / "x").rmdir()
    fill(folder / "a", {"y": 1}, 40)
    (folder / "b").mkdir()
    refuses("b' has no pictures; take the folder away", by_client=True)
    with pytest.raises(PopulationError, match="name their folder with --from"):
        prepare(tmp_path / "f.arrow", console=quiet)


def test_a_picture_of_a_billion_pixels_is_refused_before_it_is_decoded(tmp_path: Path, quiet: Console) -> None:
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    )
    (tmp_path / "f" / "a").mkdir(parents=True)
    (tmp_path / "f" / "a" / "1.png").write_bytes(bomb)
    with pytest.raises(PopulationError, match=r"1\.png' is no readable picture"):
        prepare(tmp_path / "f.arrow", source=tmp_path / "f", size=8, console=quiet)
