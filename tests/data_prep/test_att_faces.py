"""The AT&T faces: a client a person, read as Pillow reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from data_prep.att_faces import parse_pgm, prepare
from data_prep.download import DownloadError
from raysplit.errors import PopulationError
from tests.conftest import needs
from tests.data_prep.archives import archive, opened, rows
from tests.data_prep.loopback import Remote, serving, unlabelled_page


def faces() -> dict[str, bytes]:
    """400 made-up pictures of the true size and layout."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, 112 * 92 + 400, dtype=np.uint8).tobytes()
    names = [f"s{person}/{number}.pgm" for person in range(1, 41) for number in range(1, 11)]
    return {name: b"P5\n92 112\n255\n" + noise[k : k + 112 * 92] for k, name in enumerate(names)}


def lay(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def expect_pillow(path: Path, folder: Path) -> None:
    """Each client's pictures are Pillow's of that person, one of the ten held out."""
    population = opened(path)
    assert population.info.clients == 40
    for k in range(40):
        of_folder = [np.asarray(Image.open(folder / f"s{k + 1}" / f"{n}.pgm")) for n in range(1, 11)]
        assert population.name(k) == f"s{k + 1}"
        assert len(population.train(k).y) == 9 and len(population.test(k).y) == 1
        assert rows(population, k) == sorted((face.tobytes(), k) for face in of_folder)


def test_each_person_is_a_client_with_pillows_pixels(tmp_path: Path, quiet: Console) -> None:
    summary = prepare(tmp_path / "f.arrow", source=lay(tmp_path / "given", faces()), console=quiet)
    expect_pillow(tmp_path / "f.arrow", tmp_path / "given")
    assert (summary.classes, summary.shape, summary.histogram) == (40, (1, 112, 92), (10,) * 40)


def test_the_real_faces_arrive_whole(tmp_path: Path, quiet: Console, test_data: Path) -> None:
    folder = needs(test_data, "orl_faces")
    prepare(tmp_path / "f.arrow", source=test_data, console=quiet)
    expect_pillow(tmp_path / "f.arrow", folder)


def test_a_pool_holds_the_same_split(tmp_path: Path, quiet: Console) -> None:
    folder = lay(tmp_path / "given", faces())
    prepare(tmp_path / "people.arrow", source=folder, console=quiet)
    summary = prepare(tmp_path / "pool.arrow", source=folder, pool=True, console=quiet)
    people, pool = opened(tmp_path / "people.arrow"), opened(tmp_path / "pool.arrow")
    assert summary.clients == 1 and pool.name(0) == "pool" and "a pool of one client" in summary.source
    assert np.array_equal(np.concatenate([people.train(k).x for k in range(40)]), pool.train(0).x)
    assert np.array_equal(np.concatenate([people.test(k).x for k in range(40)]), pool.test(0).x)
    assert pool.test(0).y.tolist() == list(range(40))


def test_an_archive_is_downloaded_with_or_without_a_folder_in_it(tmp_path: Path, quiet: Console) -> None:
    digests = set()
    for inside in ("", "att_faces/"):
        packed = archive({inside + name: content for name, content in faces().items()})
        with serving(Remote({"att_faces.zip": packed})) as remote:
            out = tmp_path / f"x{len(inside)}" / "f.arrow"
            digests.add(prepare(out, mirror=remote.url, console=quiet).digest)
    assert len(digests) == 1
    strange = Remote({"att_faces.zip": packed}, mischief=[unlabelled_page])
    with serving(strange) as remote, pytest.raises(DownloadError, match="web page"):
        prepare(tmp_path / "y" / "f.arrow", mirror=remote.url, console=quiet)


def test_comments_and_blanks_in_a_head_are_allowed() -> None:
    head = b"P5 # made by hand\n# twice\n  2\n# height\n3\n255\n"
    assert parse_pgm(head + b"\n23456", "x").tolist() == [[10, 50], [51, 52], [53, 54]]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda c: c[:-1], "10,303 pixels where it promises 92 × 112"),
        (lambda c: b"P2" + c[2:], "no binary PGM"),
        (lambda c: c.replace(b"255", b"65535", 1), "no binary PGM"),
        (lambda c: b"", "no binary PGM"),
        (lambda c: None, "cannot be read"),
    ],
)
def test_damaged_and_missing_pictures_are_named(tmp_path: Path, quiet: Console, spoil, words: str) -> None:  # type: ignore[no-untyped-def]
    files = faces()
    changed = spoil(files.pop("s7/3.pgm"))
    lay(tmp_path / "given", files if changed is None else files | {"s7/3.pgm": changed})
    with pytest.raises(PopulationError, match=words) as caught:
        prepare(tmp_path / "f.arrow", source=tmp_path / "given", console=quiet)
    assert "s7/3.pgm" in str(caught.value) and "\n" not in str(caught.value) and not list(tmp_path.glob("*.arrow"))


def test_pictures_of_another_size_an_empty_folder_and_a_broken_archive_are_refused(
    tmp_path: Path, quiet: Console
) -> None:
    def refuses(words: str) -> None:
        with pytest.raises(PopulationError, match=words):
            prepare(tmp_path / "f.arrow", source=tmp_path / "given", console=quiet)

    (tmp_path / "given").mkdir()
    refuses("holds neither att_faces.zip nor the folders")
    (tmp_path / "given" / "att_faces.zip").write_bytes(b"PK nothing")
    refuses("cannot be read")
    files = faces()
    del files["s40/10.pgm"]
    (tmp_path / "given" / "att_faces.zip").write_bytes(archive(files))
    refuses("holds no s40/10.pgm")
    lay(tmp_path / "given", {f"s1/{n}.pgm": b"P5 1 2 255\nab" for n in range(1, 11)})
    refuses("s1 has pictures of 1 × 2 pixels, not 92 × 112")
    lay(tmp_path / "given", {"s1/2.pgm": b"P5 2 2 255\nabcd"})
    refuses("s1 has pictures of more than one size")
