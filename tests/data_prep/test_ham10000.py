"""HAM10000: split by lesion, from folders and archives, csv and tab; a slice of the real pictures."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from data_prep.download import DownloadError
from data_prep.ham10000 import CLASSES, PARTS, prepare, read_ham10000
from data_prep.split import stratified
from raysplit.errors import PopulationError
from tests.conftest import needs
from tests.data_prep.archives import archive, opened
from tests.data_prep.loopback import Remote, cut, page, serving

DOCUMENT = Path(__file__).parents[2] / "docs" / "data-sets.md"
Row = tuple[str, str, str]


def made(lesions: int = 90) -> list[Row]:
    """Rows (lesion, image, dx) in no order: one to three pictures a lesion."""
    rows = [
        (f"HAM_{lesion:07d}", f"ISIC_{100 * lesion + view:07d}", CLASSES[lesion % 7])
        for lesion in range(lesions)
        for view in range(1 + lesion % 3)
    ]
    return [rows[k] for k in np.random.default_rng(0).permutation(len(rows))]


def colour(image: str) -> tuple[int, int, int]:
    """A colour that names the picture, and survives JPEG within a few steps."""
    number = int(image[5:])
    return (number // 100 % 16 * 16, number // 1600 % 16 * 16, number % 100 * 80)


def jpeg(image: str, size: tuple[int, int] = (60, 45)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, colour(image)).save(out, "JPEG", quality=95)
    return out.getvalue()


def table(rows: Sequence[Row], tab: bool = False) -> str:
    out = io.StringIO()
    writer = csv.writer(out, delimiter="\t" if tab else ",", quoting=csv.QUOTE_ALL if tab else csv.QUOTE_MINIMAL)
    writer.writerow(HEAD)
    writer.writerows([lesion, image, dx, "histo", "80.0", "male", "scalp"] for lesion, image, dx in rows)
    return out.getvalue()


HEAD = ("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization")


def lay(folder: Path, rows: Sequence[Row]) -> Path:
    (folder / "images").mkdir(parents=True)
    for _, image, _ in rows:
        (folder / "images" / f"{image}.jpg").write_bytes(jpeg(image))
    (folder / "HAM10000_metadata.csv").write_text(table(rows))
    return folder


def official(rows: Sequence[Row]) -> dict[str, bytes]:
    """The files of Dataverse: two archives and a table with tabs."""
    names = [image for _, image, _ in rows]
    half = len(names) // 2
    parts = [archive({f"{image}.jpg": jpeg(image) for image in some}) for some in (names[:half], names[half:])]
    return dict(zip(PARTS, parts, strict=True)) | {"HAM10000_metadata.tab": table(rows, tab=True).encode()}


def test_no_lesion_is_in_both_sets_and_a_tenth_of_each_class_of_lesions_is_held_out(tmp_path: Path) -> None:
    rows = made()
    client, lesions = read_ham10000(lay(tmp_path, rows), size=8, seed=0)
    assert lesions == 90 and len(client.train_y) + len(client.test_y) == len(rows)
    by_colour = {colour(image): (lesion, dx) for lesion, image, dx in rows}
    colours = np.array(list(by_colour))
    owners: list[set[str]] = []
    for x, y in ((client.train_x, client.train_y), (client.test_x, client.test_y)):
        assert x.shape[1:] == (3, 8, 8)
        nearest = [colours[np.abs(colours - p).sum(1).argmin()] for p in x[:, :, 4, 4].astype(int)]
        found = [by_colour[tuple(int(v) for v in c)] for c in nearest]
        assert [CLASSES.index(dx) for _, dx in found] == y.tolist()
        owners.append({lesion for lesion, _ in found})
    assert not owners[0] & owners[1] and len(owners[0] | owners[1]) == 90
    held_out = np.bincount([int(lesion[4:]) % 7 for lesion in owners[1]], minlength=7)
    assert held_out.tolist() == [1] * 7, "a tenth of 12 or 13 lesions, rounded"


def test_the_split_depends_on_the_seed_and_not_on_the_order_of_the_rows(tmp_path: Path, quiet: Console) -> None:
    rows = made()
    one = prepare(tmp_path / "a.arrow", source=lay(tmp_path / "a", rows), size=8, console=quiet)
    other = prepare(tmp_path / "b.arrow", source=lay(tmp_path / "b", sorted(rows)), size=8, console=quiet)
    reseeded = prepare(tmp_path / "c.arrow", source=tmp_path / "a", size=8, seed=1, console=quiet)
    assert one.digest == other.digest != reseeded.digest
    for words in ("CC BY-NC 4.0", "not for redistribution", "10,015 in the official set", "of 90 lesions", "8 × 8"):
        assert words in one.source
    assert one.clients == 1 and one.shape == (3, 8, 8) and one.classes == 7


def test_the_official_files_are_downloaded_and_are_the_same_data(tmp_path: Path, quiet: Console) -> None:
    rows = made(30)
    with serving(Remote(official(rows), mischief=[cut(2000)])) as remote:
        summary = prepare(tmp_path / "d" / "h.arrow", mirror=remote.url, size=8, console=quiet)
    assert (
        summary.digest == prepare(tmp_path / "h.arrow", source=lay(tmp_path / "s", rows), size=8, console=quiet).digest
    )
    with serving(Remote(official(rows), mischief=[page])) as remote, pytest.raises(DownloadError, match="web page"):
        prepare(tmp_path / "e" / "h.arrow", mirror=remote.url, size=8, console=quiet)
    lying = Remote({**official(rows), "HAM10000_metadata.tab": b"{}"})
    with serving(lying) as remote, pytest.raises(PopulationError, match="lists no pictures; copy or download it again"):
        prepare(tmp_path / "f" / "h.arrow", mirror=remote.url, size=8, console=quiet)


def test_a_slice_of_the_real_pictures(tmp_path: Path, quiet: Console, test_data: Path) -> None:
    """Every 25th lesion, with all its pictures; pixels beside torchvision's resize."""
    import torch
    from torchvision.transforms.functional import InterpolationMode, pil_to_tensor, resize

    folder = needs(test_data, "HAM10000")
    with open(folder / "HAM10000_metadata.csv", newline="") as text:
        rows = [(row["lesion_id"], row["image_id"], row["dx"]) for row in csv.DictReader(text)]
    assert len(rows) == 10_015
    lesions, first, of = np.unique([lesion for lesion, _, _ in rows], return_index=True, return_inverse=True)
    assert len(lesions) == 7_470
    test = stratified("ham10000 lesions", np.array([CLASSES.index(rows[k][2]) for k in first]), seed=0)[of]
    assert f"| {np.sum(~test):,} + {np.sum(test):,} |" in DOCUMENT.read_text()
    chosen = set(sorted({lesion for lesion, _, _ in rows})[::25])
    kept = [row for row in rows if row[0] in chosen]
    source = tmp_path / "slice"
    (source / "images").mkdir(parents=True)
    for _, image, _ in kept:
        os.symlink(folder / "images" / f"{image}.jpg", source / "images" / f"{image}.jpg")
    (source / "HAM10000_metadata.csv").write_text(table(kept))
    summary = prepare(tmp_path / "h.arrow", source=source, console=quiet)
    assert summary.train + summary.test == len(kept) and f"of {len(chosen)} lesions" in summary.source
    population = opened(tmp_path / "h.arrow")
    served = {
        x.numpy().tobytes(): int(y)
        for part in (population.train(0), population.test(0))
        for x, y in zip(*part, strict=True)
    }
    for _, image, dx in kept[::10]:
        with Image.open(folder / "images" / f"{image}.jpg") as picture:
            resized = pil_to_tensor(resize(picture.convert("RGB"), [64, 64], InterpolationMode.BILINEAR))
        assert resized.dtype == torch.uint8
        assert served[resized.numpy().tobytes()] == CLASSES.index(dx)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: [*rows, rows[0]], "is not the metadata of HAM10000: line 17"),
        (lambda rows: [(rows[0][0], rows[0][1], "cat"), *rows[1:]], "line 2 needs"),
        (lambda rows: [("", *rows[0][1:]), *rows[1:]], "line 2 needs"),
        (lambda rows: [*rows, (rows[0][0], "ISIC_9999999", rows[0][2])], r"lacks 1 pictures .* ISIC_9999999\.jpg"),
        (lambda rows: [(rows[0][0], rows[0][1], "../x"), *rows[1:]], "line 2 needs"),
        (lambda rows: [], "lists no pictures"),
    ],
)
def test_metadata_that_do_not_fit_are_refused(tmp_path: Path, quiet: Console, change, words: str) -> None:  # type: ignore[no-untyped-def]
    rows = made(8)
    assert len(rows) == 15
    folder = lay(tmp_path / "given", rows)
    (folder / "HAM10000_metadata.csv").write_text(table(change(rows)))
    with pytest.raises(PopulationError, match=words) as caught:
        prepare(tmp_path / "h.arrow", source=folder, size=8, console=quiet)
    assert "\n" not in str(caught.value) and not list(tmp_path.glob("*.arrow"))


def test_a_lesion_of_two_diagnoses_bad_pictures_and_wrong_sizes_are_refused(tmp_path: Path, quiet: Console) -> None:
    rows = sorted(made(8))
    folder = lay(tmp_path / "given", rows)

    def refuses(words: str, size: int = 8) -> None:
        with pytest.raises(PopulationError, match=words):
            prepare(tmp_path / "h.arrow", source=folder, size=size, console=quiet)

    lesion, image, _ = next(row for row in rows if row[0] == "HAM_0000002")
    changed = [(lesion, image, "nv") if row[1] == image else row for row in rows]
    (folder / "HAM10000_metadata.csv").write_text(table(changed))
    refuses("gives? lesion 'HAM_0000002' two diagnoses")
    (folder / "HAM10000_metadata.csv").write_text(table(rows))
    (folder / "images" / f"{image}.jpg").write_bytes(jpeg(image)[:300])
    refuses(f"{image}.jpg is no readable picture")
    refuses("--size must be 4 to 1024", size=2)
    (folder / "HAM10000_metadata.csv").unlink()
    refuses("holds no HAM10000_metadata.csv")
